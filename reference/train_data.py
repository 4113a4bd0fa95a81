"""Small training sets in every format that is read, and what transformers and TRL make of them.

    python reference/train_data.py

Writes `vlm/tests/fixtures/train_data`: the sets, whose pictures are those of `images.py`, and `expected.json` with
ids and masks for two checkpoints. A record is tokenised by the processor's own `apply_chat_template`; beside it stand
the ids and labels of TRL's `DataCollatorForVisionLanguageModeling`.
"""

import copy
import json
import shutil
from pathlib import Path

from common import FIXTURES, TEMPLATES, publish, quiet, report, versions, write_json

import pyarrow.parquet as parquet
from PIL import Image as Picture
from datasets import Dataset, Features, Image, List, Value
from transformers import AutoProcessor
from trl.data_utils import common_prefix_length, prepare_multimodal_messages
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

TARGET = FIXTURES / "train_data"
#: Checkpoints, and the template that marks what the assistant says where their own does not.
CASES = {"llava/clip-llama": None, "idefics3/idefics3": "idefics3_training.jinja"}
PIXEL, STRIP, CUP, CAT = (f"../images/{name}.png" for name in ("pixel", "strip", "coffee", "chelsea"))


def turn(role: str, *content) -> dict:
    """A message: of a string alone, else of parts, of which None is a picture."""
    if len(content) == 1 and isinstance(content[0], str):
        return {"role": role, "content": content[0]}
    parts = [{"type": "image"} if part is None else {"type": "text", "text": part} for part in content]
    return {"role": role, "content": parts}


CONVERSATIONS = [
    {"images": [CUP], "messages": [turn("user", "What is in the picture?"), turn("assistant", "A red cup.")]},
    {
        "images": [CUP, STRIP],
        "messages": [
            turn("system", "you are a helpful assistant."),
            turn("user", None, "What is this?"),
            turn("assistant", "A red cup."),
            turn("user", None, "Compare the two."),
            turn("assistant", "The second is a strip: Où est le café?"),
        ],
    },
    {
        "messages": [
            turn("user", "What colour is the cup?"),
            turn("assistant", "Red."),
            turn("user", "Why?"),
            turn("assistant", "Because the picture\nshows it so."),
        ]
    },
    {
        "images": [CAT, PIXEL],
        "messages": [
            turn("user", "Compare the first with the second image."),
            turn("assistant", "A cat and a pixel."),
            turn("user", "Thanks"),
            turn("assistant", "You are welcome."),
        ],
    },
    {"images": [], "messages": [turn("user", "1 + 1 = ?", " And 2 + 2?"), turn("assistant", "2, 4")]},
]

COMPLETIONS = [
    {"images": [CUP], "prompt": [turn("user", "What is it?")], "completion": [turn("assistant", "A red cup.")]},
    {
        "images": [CUP, PIXEL],
        "prompt": [turn("user", None, "What is it?"), turn("assistant", "A cup."), turn("user", None, "And this?")],
        "completion": [turn("assistant", "A pixel.")],
    },
    {"prompt": [turn("user", "What colour is it?")], "completion": [turn("assistant", "Red.")]},
    {"images": [STRIP], "prompt": "USER: <image>\nWhat is in the picture? ASSISTANT:", "completion": " A strip."},
    {"prompt": "The pic", "completion": "ture is red."},
]

#: LLaVA's own form, and the messages that it means.
LLAVA = [
    (
        {
            "id": "1",
            "image": CUP,
            "conversations": [
                {"from": "human", "value": "What is in the picture?\n<image>"},
                {"from": "gpt", "value": "A red cup."},
                {"from": "human", "value": "Is it [full], or \"{empty\"?"},
                {"from": "gpt", "value": "It is full."},
            ],
        },
        [
            turn("user", None, "What is in the picture?"),
            turn("assistant", "A red cup."),
            # Parts, because TRL gives pictures to the first plain string even after parts that have some.
            turn("user", "Is it ", "[full], or \"{empty\"?"),
            turn("assistant", "It is full."),
        ],
    ),
    (
        {
            "id": "2",
            "conversations": [{"from": "human", "value": "What colour is it?"}, {"from": "gpt", "value": "Red."}],
        },
        [turn("user", "What colour is it?"), turn("assistant", "Red.")],
    ),
    (
        {
            "id": "3",
            "image": [CAT, STRIP],
            "conversations": [
                {"from": "human", "value": "<image>\n<image>\nCompare the two."},
                {"from": "gpt", "value": "A cat, a strip."},
            ],
        },
        [turn("user", None, None, "Compare the two."), turn("assistant", "A cat, a strip.")],
    ),
]


def open_images(record: dict) -> list:
    return [Picture.open(TARGET.parent / "images" / Path(path).name) for path in record.get("images", [])]


class Reference:
    """A checkpoint's processor, and what it makes of records one by one."""

    def __init__(self, case: str):
        self.processor = AutoProcessor.from_pretrained(FIXTURES / case)
        template = CASES[case]
        if template:
            self.processor.chat_template = (TEMPLATES / template).read_text()

    def ids(self, messages: list[dict], **options) -> dict:
        output = self.processor.apply_chat_template(messages, tokenize=True, return_dict=True, **options)
        return {key: output[key][0] for key in ("input_ids", "assistant_masks") if key in output}

    def trl(self, record: dict, **options) -> dict:
        example = copy.deepcopy(record) | {"images": open_images(record)}
        output = DataCollatorForVisionLanguageModeling(self.processor, **options)([example])
        return {key: output[key][0].tolist() for key in ("input_ids", "labels")}

    def conversation(self, record: dict) -> dict:
        messages = prepare_multimodal_messages(record["messages"], images=open_images(record))
        found = self.ids(messages, return_assistant_tokens_mask=True)
        return {
            "ids": found["input_ids"],
            "assistant": found["assistant_masks"],
            "trl": self.trl(record),
            "trl_assistant": self.trl(record, assistant_only_loss=True),
        }

    def completion(self, record: dict) -> dict:
        """As `tokenize_fn` of TRL's trainer has it, with the pictures that it leaves to the collator."""
        images = open_images(record)
        if isinstance(record["prompt"], str):
            eos = self.processor.tokenizer.eos_token
            record = record | {"completion": record["completion"].removesuffix(eos) + eos}
            whole = self.processor(text=record["prompt"] + record["completion"], images=images or None)
            prompt = self.processor(text=record["prompt"], images=images or None)
            whole, prompt = whole["input_ids"][0], prompt["input_ids"][0]
        else:
            first = prepare_multimodal_messages(record["prompt"], images=images)
            whole = self.ids(first + prepare_multimodal_messages(record["completion"]))["input_ids"]
            prompt = self.ids(first, add_generation_prompt=True)["input_ids"]
        return {
            "ids": whole,
            "begins": common_prefix_length(prompt, whole),
            "trl": self.trl(record, completion_only_loss=True),
        }


def as_parts(messages: list[dict], pictures: int) -> list[dict]:
    """Messages in the parts that `llava-instruct-mix-vsft` has, with its `index` of pictures."""
    messages = prepare_multimodal_messages(messages, images=list(range(pictures)))
    part = lambda part: {"index": part.get("image"), "text": part.get("text"), "type": part["type"]}
    return [message | {"content": [part(one) for one in message["content"]]} for message in messages]


def write_parquet(folder: Path) -> None:
    """The hub's two patterns: `llava-instruct-mix-vsft` in groups of two rows, and prompt with completion in pages of
    one row, with an index of pages and without."""
    picture = lambda path: {"bytes": (FIXTURES / "images" / Path(path).name).read_bytes(), "path": Path(path).name}
    text = Value("string")
    parts = List({"index": Value("int64"), "text": text, "type": text})
    features = Features({"messages": List({"content": parts, "role": text}), "images": List(Image())})
    # The larger pictures lie beside the other sets already.
    small = {CUP: PIXEL, CAT: STRIP}
    rows = [
        {
            "messages": as_parts(record["messages"], len(record.get("images", []))),
            "images": [picture(small.get(path, path)) for path in record.get("images", [])],
        }
        for record in CONVERSATIONS
    ]
    Dataset.from_list(rows, features=features).to_parquet(folder / "conversations.parquet", batch_size=2)
    message = List({"role": text, "content": text})
    features = Features({"images": List(Image()), "prompt": message, "completion": message})
    rows = [
        {
            "images": listed and [picture(path) for path in listed],
            "prompt": [turn("user", f"Row {number}?")],
            "completion": [turn("assistant", f"Row {number}.")],
        }
        for number, listed in enumerate([[STRIP], None, [PIXEL, STRIP], [], [PIXEL]], start=1)
    ]
    table = Dataset.from_list(rows, features=features).data.table
    for name, index in (("completions", False), ("pages", True)):
        # A page for almost every row.
        options = dict(compression="zstd", data_page_size=16, write_batch_size=1, write_page_index=index)
        parquet.write_table(table, folder / f"{name}.parquet", **options)


def main() -> None:
    quiet()
    expected = {"versions": versions()}
    for case in CASES:
        reference = Reference(case)
        expected[case] = {
            "conversations": [reference.conversation(record) for record in CONVERSATIONS],
            "completions": [reference.completion(record) for record in COMPLETIONS],
            "llava": [
                reference.conversation({"messages": messages, "images": images(record)})
                for record, messages in LLAVA
            ],
        }
    with publish(TARGET) as folder:
        lines = lambda records: "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / "conversations.jsonl").write_text(lines(CONVERSATIONS), encoding="utf-8")
        (folder / "completions.jsonl").write_text(lines(COMPLETIONS), encoding="utf-8")
        (folder / "llava.json").write_text(json.dumps([record for record, _ in LLAVA], indent=2, ensure_ascii=False))
        write_parquet(folder)
        for template in filter(None, CASES.values()):
            shutil.copy(TEMPLATES / template, folder / template)
        write_json(folder / "expected.json", expected)
    report(TARGET)


def images(record: dict) -> list[str]:
    listed = record.get("image", [])
    return listed if isinstance(listed, list) else [listed]


if __name__ == "__main__":
    main()
