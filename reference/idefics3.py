"""Tiny Idefics3 and SmolVLM2 checkpoints and what transformers makes of photographs with them.

    python reference/images.py && python reference/idefics3.py [CASE]...

Each case is a Hugging Face folder as those of `llava.py`, whose helpers it uses. Folders `layouts-*` have no
weights: they state where the numbers of published models put pictures of many sizes.
"""

import argparse
import contextlib
import dataclasses
import itertools
from pathlib import Path

from common import FIXTURES, MIN_MARGIN, Unclear, greedy, publish, quiet, randomise
from common import relative_error, report, read_json, strip_end, TEMPLATES, versions, write_json
from llava import BATCH_TOLERANCE, PICTURES, Reference, public
from llava_cases import SEED, conversations, decoder
from tokenizer_kinds import CORPUS, byte_level, special

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import processors
from transformers import AutoConfig, AutoProcessor, Idefics3Config, Idefics3ForConditionalGeneration
from transformers import Idefics3ImageProcessor, Idefics3Processor, PreTrainedTokenizerFast
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessor
from transformers import SmolVLMProcessor, SmolVLMVideoProcessor

AROUND, IMAGE, END, OVERVIEW = "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"

#: Heights and widths whose layouts every case states.
SIZES = [
    (1, 1), (1, 1000), (1000, 1), (480, 640), (640, 480), (336, 336), (300, 500), (1024, 768),
    (50, 700), (333, 100), (97, 98), (1080, 1920),
]
#: Published numbers: longest edge, tile, patch, scale factor; and whose tokenizer.
REAL = {
    "layouts-smolvlm-256m": (2048, 512, 16, 4, "smolvlm"),
    "layouts-smolvlm-2b": (1536, 384, 14, 3, "smolvlm"),
    "layouts-idefics3-8b": (1456, 364, 14, 2, "idefics3"),
}


@dataclasses.dataclass
class Case:
    """One checkpoint folder."""

    kind: str
    tokenizer: str
    vision: dict
    text: dict
    scale_factor: int
    images: dict
    pictures: tuple
    tied: bool = False
    dtype: str = "float32"
    #: Files as the hub has them since 2024.
    old_files: bool = False


def tower(**changes) -> dict:
    base = dict(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=12, patch_size=2,
    )
    return base | changes


def sizes(edge: int, tile: int, **changes) -> dict:
    return {"size": {"longest_edge": edge}, "max_image_size": {"longest_edge": tile}} | changes


CASES = {
    # SmolVLM2 as 5.23 writes it: a tied head, tokens for rows and columns.
    "smolvlm": Case(
        kind="smolvlm", tokenizer="smolvlm", tied=True, scale_factor=3,
        vision=tower(), images=sizes(36, 12),
        text=decoder("llama", tie_word_embeddings=True, rms_norm_eps=1e-5),
        pictures=(["coffee"], ["strip"], ["pixel", "strip"], []),
    ),
    # Idefics3 as the hub has it: rows and columns spelled, line breaks that merge, tiles smaller than the
    # pictures that the positions were made for, a head of its own.
    "idefics3": Case(
        kind="idefics3", tokenizer="idefics3", scale_factor=2, dtype="bfloat16", old_files=True,
        vision=tower(image_size=20, patch_size=4, hidden_act="gelu", layer_norm_eps=1e-3),
        images=sizes(32, 16, resample=3),
        text=decoder("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
        pictures=(["chelsea"], ["coffee"], ["coffee", "pixel"], []),
    ),
    # No tiles, crops larger than the positions were made for, another decoder.
    "whole": Case(
        kind="idefics3", tokenizer="smolvlm", scale_factor=4,
        vision=tower(patch_size=3), images=sizes(50, 24, do_image_splitting=False),
        text=decoder("qwen2", tie_word_embeddings=True),
        pictures=(["chelsea"], ["coffee"], ["astronaut", "strip"], []),
    ),
}

CLASSES = {
    "idefics3": (Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor),
    "smolvlm": (SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessor),
}


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """SmolVLM's has a token for each of 16 tiles; Idefics3's begins texts and joins line breaks."""
    if kind == "smolvlm":
        tokenizer = byte_level(size=290)
        tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
        tokenizer.add_special_tokens([special(name) for name in (AROUND, END, OVERVIEW, *tiles)])
        names = dict(bos_token="<|im_start|>", eos_token=END, pad_token="<|im_end|>")
    else:
        tokenizer = byte_level(size=300, corpus=CORPUS + ["row col\n\nglobal img"] * 20)
        tokenizer.add_special_tokens([special(name) for name in ("<|begin_of_text|>", AROUND, END)])
        begin = [("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))]
        template = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=begin)
        tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, template])
        names = dict(bos_token="<|begin_of_text|>", eos_token=END, pad_token="<|endoftext|>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **names)


def make_processor(kind: str, tokenizer: str, image_seq_len: int, images: dict, template: str | None = None):
    image_processor = CLASSES[kind][2](**images)
    parts = dict(image_processor=image_processor, tokenizer=make_tokenizer(tokenizer))
    parts |= dict(image_seq_len=image_seq_len, chat_template=template)
    if kind == "smolvlm":
        return SmolVLMProcessor(video_processor=SmolVLMVideoProcessor(), **parts)
    return Idefics3Processor(**parts)


class Tiled(Reference):
    """A checkpoint folder loaded by transformers."""

    with_beams = True

    def __init__(self, folder: Path, pictures: Path, kind: str):
        self.pristine, info = CLASSES[kind][1].from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
        assert not any(info.values()), info
        self.processor = AutoProcessor.from_pretrained(folder)
        self.pictures = pictures

    def tensors(self, request: dict, inputs: dict) -> dict:
        """Pixels of all crops, visual tokens, logits."""
        found = {"logits": self.model()(**inputs).logits[0]}
        if "pixel_values" in inputs:
            found["pixel_values"] = inputs["pixel_values"][0]
            names = ("pixel_values", "pixel_attention_mask")
            features = self.model().get_image_features(**{name: inputs[name] for name in names})
            found["image_features"] = torch.cat(list(features.pooler_output))
        return found

    def check_batch(self, alone: list[dict], asked: list[dict]) -> float:
        """Requests with different numbers of crops as one batch give the same logits and tokens."""
        inputs = self.processor(
            images=[self.open(request) for request in asked], text=[request["prompt"] for request in asked],
            padding=True, padding_side="left", return_tensors="pt",
        )
        model = self.model()
        output = model.generate(
            **inputs, do_sample=False, max_new_tokens=24, output_logits=True, return_dict_in_generate=True,
        )
        worst = 0.0
        for row, single in enumerate(alone):
            tokens = output.sequences[row, inputs["input_ids"].shape[1] :].tolist()
            assert strip_end(model, tokens) == single["tokens"], (tokens, single["tokens"])
            worst = max(worst, relative_error(output.logits[0][row], single["last_logits"]))
        assert worst < BATCH_TOLERANCE, worst
        return worst

    def layout(self, height: int, width: int) -> dict:
        """Where a blank picture goes in a prompt that is its placeholder alone."""
        return layout(self.processor, height, width)


def layout(processor, height: int, width: int) -> dict:
    blank = Image.new("RGB", (width, height))
    ids = processor(images=[blank], text=IMAGE)["input_ids"][0]
    runs = [[token, len(list(run))] for token, run in itertools.groupby(ids)]
    return {"size": [height, width], "prompt": IMAGE, "runs": runs}


def build(case: Case, folder: Path, seed: int) -> None:
    """Writes the checkpoint of a case, without anything expected."""
    configuration, model_class, _ = CLASSES[case.kind]
    tokenizer = make_tokenizer(case.tokenizer)
    ids = dict(
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )
    config = configuration(
        text_config=AutoConfig.for_model(**(case.text | ids)), vision_config=case.vision,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE), scale_factor=case.scale_factor,
        tie_word_embeddings=case.tied,
    )
    model = model_class(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    randomise(model, seed)
    if case.tied:
        model.tie_weights()
    model = model.to(getattr(torch, case.dtype))
    side = case.images["max_image_size"]["longest_edge"] // config.vision_config.patch_size
    template = (TEMPLATES / f"{case.tokenizer}.jinja").read_text(encoding="utf-8")
    processor = make_processor(
        case.kind, case.tokenizer, (side // case.scale_factor) ** 2, case.images, template
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if case.old_files:
        age(folder)


def age(folder: Path) -> None:
    """Rewrites the JSON files as the hub has had them since 2024."""
    new = read_json(folder / "processor_config.json")
    images = new.pop("image_processor")
    write_json(folder / "preprocessor_config.json", images | {"processor_class": "Idefics3Processor"})
    kept = {key: new[key] for key in ("image_seq_len", "processor_class")}
    write_json(folder / "processor_config.json", kept)
    config = read_json(folder / "config.json")
    text, vision = config["text_config"], config["vision_config"]
    rope = text.pop("rope_parameters")
    text |= {
        "rope_theta": rope["rope_theta"], "torch_dtype": text.pop("dtype", "bfloat16"), "is_llama_config": True,
        "neftune_noise_alpha": 0.0, "pixel_shuffle_factor": config["scale_factor"], "qk_layer_norms": False,
        "perceiver_config": {"model_type": "vllama3", "resampler_depth": 6}, "use_resampler": False,
        "architectures": ["VLlama3ForCausalLM"], "rope_interleaved": False,
    }
    vision |= {
        "model_type": "idefics3", "max_image_size": images["max_image_size"], "size": images["size"],
        "use_base_siglip": False, "tie_word_embeddings": False,
    }
    config |= {"torch_dtype": config.pop("dtype"), "vocab_size": text["vocab_size"]}
    config.pop("_pad_token_id", None)
    write_json(folder / "config.json", config)


def requests(case: Case) -> list[dict]:
    """One picture, another, two, none."""
    begin = "<|im_start|>" if case.tokenizer == "smolvlm" else ""
    prompts = (
        "User:<image>What is in the picture?", "User:<image>What is in the picture?",
        "User:<image> and\n<image>\nCompare the first with the second image.", "User: What colour is the cup?",
    )
    return [
        {"images": [f"{PICTURES}/{name}.png" for name in names], "prompt": f"{begin}{prompt}{END}\nAssistant:"}
        for names, prompt in zip(case.pictures, prompts)
    ]


def expect(case: Case, folder: Path, pictures: Path) -> None:
    """Writes what transformers answers, unless rounding could change an answer."""
    reference = Tiled(folder, pictures, case.kind)
    asked, tensors, answers = requests(case), {}, []
    for number, request in enumerate(asked):
        inputs = reference.inputs(request)
        answers.append(reference.answer(inputs))
        found = reference.tensors(request, inputs)
        answers[-1]["last_logits"] = found["logits"][-1]
        tensors |= {f"request_{number}.{name}": tensor.contiguous() for name, tensor in found.items()}
    messages = [(request, reference.converse(request)) for request in conversations(PICTURES)]
    sighted = relative_error(answers[0]["last_logits"], answers[1]["last_logits"])
    assert sighted > 0.02, f"the picture hardly matters: {sighted}"
    margin = min(answer["margin"] for answer in answers + [answer for _, answer in messages])
    kinds = [len(set(answer["tokens"])) for answer in answers]
    print(f"  margin {margin:.4f}, distinct tokens {kinds}, other picture {sighted:.2f}")
    blind = answers[0]["tokens"] == answers[1]["tokens"]
    if blind or margin < MIN_MARGIN or min(kinds) < 5:
        raise Unclear
    print("  batch against single:", reference.check_batch(answers[:3], asked[:3]))
    write_json(folder / "expected.json", {
        "versions": versions(),
        "requests": [request | public(answer) for request, answer in zip(asked, answers)],
        "messages": [request | public(answer) for request, answer in messages],
        "layouts": [reference.layout(*size) for size in SIZES],
    })
    save_file(tensors, folder / "expected.safetensors")


def make(name: str, output: Path, pictures: Path) -> None:
    """Builds a case with the first seed whose greedy steps are all clear."""
    for seed in range(SEED, SEED + 60):
        print(f"{name}, seed {seed}")
        clear = False
        with contextlib.suppress(Unclear), publish(output / name) as folder:
            build(CASES[name], folder, seed)
            expect(CASES[name], folder, pictures)
            clear = True
        if clear:
            return report(output / name)
    raise SystemExit(f"{name}: no seed has clear margins")


def write_layouts(name: str, output: Path) -> None:
    """A folder without weights: published numbers in a configuration, with the tokenizer of a case."""
    edge, tile, patch, scale_factor, tokenizer = REAL[name]
    with publish(output / name) as folder:
        side = tile // patch
        processor = make_processor("idefics3", tokenizer, (side // scale_factor) ** 2, sizes(edge, tile))
        processor.save_pretrained(folder)
        Idefics3Config(
            vision_config={"image_size": tile, "patch_size": patch}, scale_factor=scale_factor,
            image_token_id=processor.image_token_id,
        ).save_pretrained(folder)
        found = {"versions": versions(), "layouts": [layout(processor, *size) for size in SIZES]}
        write_json(folder / "expected.json", found)
    report(output / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    names = [*CASES, *REAL]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--output", type=Path, default=FIXTURES / "idefics3")
    parser.add_argument("--images", type=Path, default=FIXTURES / "images")
    arguments = parser.parse_args()
    quiet()
    for name in arguments.cases or names:
        if name in CASES:
            make(name, arguments.output, arguments.images)
        else:
            write_layouts(name, arguments.output)


if __name__ == "__main__":
    main()
