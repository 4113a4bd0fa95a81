"""Tiny Fuyu checkpoints, where pictures of many sizes stand in a real one's prompts, and places in text.

    python reference/images.py && python reference/fuyu.py [CASE]...

As `llava.py`: each case is a Hugging Face folder with `expected.json` and `expected.safetensors` beside the
weights, and everything expected comes from loading the folder again in f32. `pixel_values` are the picture in
whole patches. The case `layouts` has no weights, the numbers of the released model, and besides `layouts`:

- `prompts`: prompts with boxes and points, and their ids, picture left out. transformers 5.23 computes the
  coordinates and drops them; what is written here is what 4.57 does with them, by 5.23's own functions.
- `answers`: ids of answers with boxes and points, and what `post_process_box_coordinates` makes of them.
"""

import argparse
import contextlib
import copy
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from common import FIXTURES, MIN_MARGIN, Unclear, greedy, publish, quiet, randomise, read_json, relative_error
from common import report, strip_end, versions, write_json
from tokenizer_kinds import sentencepiece_decoder, special, unigram_pieces

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import AutoProcessor, FuyuConfig, FuyuForCausalLM, FuyuImageProcessor, FuyuProcessor
from transformers import PreTrainedTokenizerFast
from transformers.models.fuyu import processing_fuyu

SEED = 50
PICTURES = "../../images"
NAMED = ["<unk>", "<s>", "</s>"]
#: What stands for places and for the beginning of an answer, the picture's tokens.
MARKS = [f"<0x{byte:02X}>" for byte in range(5)] + ["|SPEAKER|", "|NEWLINE|"]
#: Heights and widths of blank pictures.
SIZES = [
    (1080, 1920), (480, 640), (300, 300), (1000, 3000), (29, 31), (1, 1000), (1000, 1), (1, 1), (30, 30), (31, 30),
    (1081, 1920), (1920, 1080), (3000, 40), (1079, 1921), (90, 89),
]


@dataclass
class Case:
    """One checkpoint folder: sizes, how it is written, what it is asked."""

    #: Pieces of the vocabulary, and numbers from 0 that are one token.
    pieces: int
    numbers: int
    images: dict
    text: dict
    #: Pictures (or none) and prompts.
    requests: list = field(default_factory=list)
    dtype: str = "float32"
    #: Whether the folder is as transformers 5 writes it, or with a flat config.json of 2023 and 5's names.
    current: bool = True
    tied: bool = False


DECODER = dict(
    hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=256,
    rope_theta=25000.0,
)

CASES = {
    "nested": Case(
        pieces=110, numbers=91, text=DECODER,
        images={"size": {"height": 60, "width": 90}, "patch_size": {"height": 10, "width": 10}},
        requests=[
            ("chelsea", "What is in the picture?\n"),
            ("coffee", "Describe the image.\n"),
            (None, "A small grey cat"),
            ("strip", ""),
        ],
    ),
    "flat": Case(
        pieces=100, numbers=33, dtype="bfloat16", current=False, tied=True,
        images={"size": {"height": 48, "width": 64}, "patch_size": {"height": 8, "width": 8}, "resample": 3},
        text=DECODER | dict(
            hidden_size=24, num_attention_heads=3, qk_layernorm=False, layer_norm_eps=1e-3, rope_theta=500.0,
            rope_scaling={"type": "linear", "factor": 2.0},
        ),
        requests=[
            ("astronaut", "How many people are there?\n"),
            ("pixel", "What colour is the cup?\n"),
            (None, "USER: What is this?"),
        ],
    ),
}


def tokenizer(pieces: int, numbers: int) -> PreTrainedTokenizerFast:
    """Persimmon's kind: one list of pieces, the marks and whole numbers among them, `▁` before any text."""
    found = dict(unigram_pieces(pieces))
    found |= {piece: -9.0 for piece in "<>/x" if piece not in found}
    found |= {str(number): -8.0 for number in range(numbers)}
    vocabulary = [(name, 0.0) for name in NAMED + MARKS] + list(found.items())
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=False))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = sentencepiece_decoder()
    made.add_special_tokens([special(name) for name in NAMED])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = dict(unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def parts(case: Case) -> FuyuProcessor:
    return FuyuProcessor(FuyuImageProcessor(**case.images), tokenizer(case.pieces, case.numbers))


def build(case: Case, folder: Path, seed: int) -> None:
    """Writes the checkpoint of a case, without anything expected."""
    processor = parts(case)
    names = processor.tokenizer
    common = dict(
        patch_size=case.images["patch_size"]["height"], image_token_id=processor.image_token_id,
        tie_word_embeddings=case.tied,
    )
    text = case.text | {"vocab_size": len(names)}
    # A copy, because the configuration fills rope_scaling up.
    model = FuyuForCausalLM(FuyuConfig(**common, **copy.deepcopy(text)))
    randomise(model, seed)
    model.to(getattr(torch, case.dtype)).save_pretrained(folder)
    if case.current:
        return processor.save_pretrained(folder)
    names.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    write_json(folder / "config.json", {
        "architectures": ["FuyuForCausalLM"], "model_type": "fuyu", "torch_dtype": case.dtype, "bos_token_id": 1,
        "eos_token_id": 2, "image_size": 300, "num_channels": 3, "partial_rotary_factor": 0.5, "use_cache": True,
        **common, **text,
    })
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if case.tied:
        del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


class Reference:
    """A checkpoint folder loaded by transformers."""

    def __init__(self, case: Case, folder: Path, pictures: Path):
        self.model, info = FuyuForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        assert not any(info.values()), info
        self.processor = AutoProcessor.from_pretrained(folder)
        self.case, self.pictures = case, pictures

    def open(self, name: str) -> Image.Image:
        return Image.open(self.pictures / f"{name}.png").convert("RGB")

    def inputs(self, name: str | None, prompt: str) -> dict:
        """The processor's output for a prompt, with a picture or without."""
        images = {"images": self.open(name), "return_legacy_image_output": False} if name else {}
        return dict(self.processor(text=prompt, return_tensors="pt", **images))

    def beams(self, inputs: dict) -> list[int]:
        """Three beams over embeddings: `generate` would repeat patch by patch what stands picture by picture."""
        embeds = self.model.get_input_embeddings()(inputs["input_ids"])
        if "pixel_values" in inputs:
            patches = self.model.model.get_image_features(inputs["pixel_values"]).last_hidden_state
            mask = inputs["input_ids"] == self.model.config.image_token_id
            embeds = embeds.masked_scatter(mask[..., None], patches)
        given = {"inputs_embeds": embeds, "attention_mask": inputs["attention_mask"]}
        found = self.model.generate(**given, do_sample=False, num_beams=3, max_new_tokens=24)
        return strip_end(self.model, found[0].tolist())

    def request(self, name: str | None, prompt: str) -> tuple[dict, dict, float]:
        """A request with its answers, its tensors, and the least margin of the greedy answer."""
        inputs = self.inputs(name, prompt)
        tokens, margin = greedy(self.model, inputs)
        answer = {
            "images": [f"{PICTURES}/{name}.png"] if name else [],
            "prompt": prompt,
            "prompt_tokens": inputs["input_ids"][0].tolist(),
            "tokens": tokens,
            "text": self.processor.decode(tokens, skip_special_tokens=True),
            "beam_tokens": self.beams(inputs),
        }
        return answer, self.tensors(name, inputs), margin

    def tensors(self, name: str | None, inputs: dict) -> dict:
        """Pixels, visual tokens, logits."""
        found = {"logits": self.model(**inputs).logits[0]}
        if name:
            images = self.processor.image_processor
            patches = inputs["pixel_values"]
            side = images.patch_size.height
            rows = (inputs["input_ids"] == self.processor.image_newline_id).sum().item()
            whole = images(self.open(name), return_tensors="pt")["images"][0, 0]
            whole = whole[:, : rows * side, : len(patches) // rows * side]
            assert torch.equal(images.patchify_image(whole[None])[0], patches)
            found["pixel_values"] = whole[None]
            found["image_features"] = self.model.model.get_image_features(patches).last_hidden_state
        return found

    def check_batch(self, asked: list, alone: list[dict]) -> float:
        """The prompts of a left-padded batch have the logits and the greedy tokens that they have alone."""
        asked = [(request, one) for request, one in zip(asked, alone) if request[0]]
        images, prompts = zip(*(request for request, _ in asked))
        inputs = self.processor(
            images=[self.open(name) for name in images], text=list(prompts), return_legacy_image_output=False
        )
        output = self.model.generate(
            **inputs, do_sample=False, max_new_tokens=24, output_logits=True, return_dict_in_generate=True
        )
        worst = 0.0
        for row, (_, single) in enumerate(asked):
            tokens = output.sequences[row, inputs["input_ids"].shape[1] :].tolist()
            assert tokens[: len(single["tokens"])] == single["tokens"], (tokens, single["tokens"])
            worst = max(worst, relative_error(output.logits[0][row], single["last_logits"]))
        return worst


def expect(case: Case, folder: Path, pictures: Path) -> None:
    """Writes what transformers answers, unless rounding could change an answer."""
    reference = Reference(case, folder, pictures)
    answers, tensors, margins = zip(*(reference.request(*request) for request in case.requests))
    longest = max(len(set(answer["tokens"])) for answer in answers)
    if min(margins) < MIN_MARGIN or longest < 6:
        raise Unclear
    alone = [answer | {"last_logits": some["logits"][-1]} for answer, some in zip(answers, tensors)]
    print("  batch against single:", reference.check_batch(case.requests, alone))
    blind = reference.inputs(*case.requests[0])
    blind["pixel_values"] = blind["pixel_values"] * 0
    sighted = relative_error(reference.model(**blind).logits[0, -1], alone[0]["last_logits"])
    assert sighted > 0.02, f"the picture hardly matters: {sighted}"
    write_json(folder / "expected.json", {"versions": versions(), "requests": list(answers), "messages": []})
    save_file({
        f"request_{number}.{name}": tensor.contiguous()
        for number, some in enumerate(tensors) for name, tensor in some.items()
    }, folder / "expected.safetensors")


def make(name: str, output: Path, pictures: Path) -> None:
    """Builds a case with the first seed whose greedy steps are all clear."""
    for seed in range(SEED, SEED + 40):
        print(f"{name}, seed {seed}")
        clear = False
        with contextlib.suppress(Unclear), publish(output / name) as folder:
            build(CASES[name], folder, seed)
            expect(CASES[name], folder, pictures)
            clear = True
        if clear:
            return report(output / name)
    raise SystemExit(f"{name}: no seed has clear margins")


# Layouts and places of the released model


def layout(processor: FuyuProcessor, height: int, width: int) -> dict:
    """The ids of a prompt with one blank picture, run-length coded."""
    picture, prompt = Image.new("RGB", (width, height)), "Describe the image.\n"
    ids = processor(images=picture, text=prompt)["input_ids"][0].tolist()
    runs = [[id, len(list(run))] for id, run in itertools.groupby(ids)]
    return {"size": [height, width], "prompt": prompt, "runs": runs}


PROMPTS = [
    "What is in <box>100, 200, 300, 401</box>?\n",
    "<box>1, 3, 5, 7</box>",
    "<point>11, 13</point><box>0, 0, 10.5, 20.25</box> and <point>  6,2 </point>",
    "no place",
    " two  spaces <point>30, 50</point>  here\n",
]

#: Numbers of answers.
PLACES = [[0, 0, 1, 2], [10, 20, 300, 410], [539, 959, 540, 960], [7, 8], [333, 444]]


def prompt_ids(processor: FuyuProcessor, prompt: str, scale: float) -> list[int]:
    """The ids of a prompt with its places, between `<s>` and the beginning of the answer."""
    names, ids = processor.tokenizer, []
    tagged = processing_fuyu._replace_string_repr_with_token_tags(prompt)
    for text, is_place in processing_fuyu._segment_prompt_into_text_token_conversions(tagged):
        if not is_place:
            ids += names(text, add_special_tokens=False)["input_ids"]
            continue
        given = [float(number.strip()) for number in text.split(",")]
        if len(given) == 2:
            open_, close = processing_fuyu.TOKEN_POINT_OPEN_STRING, processing_fuyu.TOKEN_POINT_CLOSE_STRING
            scaled = processing_fuyu.scale_point_to_transformed_image(*given, scale)
        else:
            open_, close = processing_fuyu.TOKEN_BBOX_OPEN_STRING, processing_fuyu.TOKEN_BBOX_CLOSE_STRING
            scaled = processing_fuyu.scale_bbox_to_transformed_image(*given, scale)
        # What 5.23 writes, digits run together.
        joined = processing_fuyu.transform_within_tags(text, scale)
        assert joined == open_ + "".join(map(str, scaled)) + close, joined
        ids += [names.get_vocab()[token] for token in [open_, *map(str, scaled), close]]
    return ids


def answer(processor: FuyuProcessor, height: int, width: int) -> dict:
    """An answer with every place, and what is read out of it."""
    vocabulary = processor.tokenizer.get_vocab()
    ids = processor.tokenizer("The picture shows", add_special_tokens=False)["input_ids"]
    for numbers in PLACES:
        marks = (0, 1) if len(numbers) == 4 else (2, 3)
        ids += [vocabulary[token] for token in [MARKS[marks[0]], *map(str, numbers), MARKS[marks[1]]]]
        ids += processor.tokenizer("a cat", add_special_tokens=False)["input_ids"]
    read = processor.post_process_box_coordinates([torch.tensor(ids)], torch.tensor([[height, width]]))[0]
    text = processor.decode(read, skip_special_tokens=True)
    return {"size": [height, width], "tokens": ids, "text": text}


def write_layouts(target: Path) -> None:
    case = Case(pieces=110, numbers=961, images={}, text={})
    processor = parts(case)
    with publish(target) as folder:
        config = FuyuConfig(image_token_id=processor.image_token_id, rope_theta=25000.0)
        config.architectures = ["FuyuForCausalLM"]
        config.save_pretrained(folder)
        processor.save_pretrained(folder)
        prompts = []
        for (height, width), prompt in itertools.product([(480, 640), (1200, 1100), (1999, 3001)], PROMPTS):
            blank = Image.new("RGB", (width, height))
            scale = processor.image_processor(blank, return_tensors="pt")["image_scale_factors"][0].item()
            prompts.append({"size": [height, width], "prompt": prompt, "tokens": prompt_ids(processor, prompt, scale)})
        sizes = [(480, 640), (1200, 1100), (1999, 3001), (4321, 1234), (1081, 1920)]
        write_json(folder / "expected.json", {
            "versions": versions(),
            "layouts": [layout(processor, *size) for size in SIZES],
            "prompts": prompts,
            "answers": [answer(processor, *size) for size in sizes],
        })
    report(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}, layouts; default: all")
    parser.add_argument("--output", type=Path, default=FIXTURES / "fuyu")
    parser.add_argument("--images", type=Path, default=FIXTURES / "images")
    arguments = parser.parse_args()
    quiet()
    for name in arguments.cases or [*CASES, "layouts"]:
        if name == "layouts":
            write_layouts(arguments.output / name)
        else:
            make(name, arguments.output, arguments.images)


if __name__ == "__main__":
    main()
