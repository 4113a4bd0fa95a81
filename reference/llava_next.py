"""Tiny LLaVA-NeXT checkpoints, and where pictures of many sizes stand in a real one's prompts.

    python reference/llava_next.py [CASE]...

As `llava.py`; `pixel_values` and `image_features` have the crops of all pictures one after the
other, without the empty ones that fill batches up. The case `layouts` has no weights.
"""

import argparse
from pathlib import Path

from common import FIXTURES, name_tokens, publish, quiet, randomise, report
from common import versions, write_json
import layouts
from layouts import Layout
from llava import Reference, make, template
from llava_cases import CHATML, INST, Case, clip, decoder, image_token, siglip
from tokenizer_kinds import KINDS

import torch
from PIL import Image
from transformers import (
    AutoConfig, AutoProcessor, LlavaNextConfig, LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor, LlavaNextProcessor,
)

#: Heights and widths.
SIZES = [
    (336, 336), (480, 640), (640, 480), (300, 500), (1024, 768), (300, 1000), (1000, 300),
    (1344, 1344), (333, 500), (899, 1024), (1, 1000), (1000, 1), (1, 1), (37, 41), (672, 337), (500, 2000),
]


class NextReference(Reference):
    model_class = LlavaNextForConditionalGeneration
    with_beams = True

    def tensors(self, request: dict, inputs: dict) -> dict:
        model = self.model()
        found, seen = {}, []
        projector = model.model.multi_modal_projector
        hook = projector.register_forward_hook(lambda module, given, result: seen.append(result))
        found["logits"] = model(**inputs).logits[0]
        hook.remove()
        if "pixel_values" in inputs:
            crops = [len(self.processor.image_processor(image, return_tensors="pt").pixel_values[0])
                     for image in self.open(request)]
            pictures = zip(inputs["pixel_values"], crops)
            found["pixel_values"] = torch.cat([pixels[:count] for pixels, count in pictures])
            found["image_features"] = seen[0]
        return found


CASES = {
    "mistral": Case(
        tokenizer="byte_fallback", template="mistral", prompts=INST,
        vision=clip(patch_size=14, num_hidden_layers=2), text=decoder("mistral", max_position_embeddings=512),
        llava=dict(image_grid_pinpoints=[[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]),
        layout=layouts.current,
    ),
    "siglip": Case(
        tokenizer="byte_level", template="chatml", prompts=CHATML, dtype="bfloat16",
        vision=siglip(patch_size=9),
        text=decoder("qwen2", bos_token_id=376, eos_token_id=378, pad_token_id=376, max_position_embeddings=512),
        llava=dict(
            image_grid_pinpoints=[[28, 28], [56, 84]], vision_feature_select_strategy="full",
            vision_feature_layer=[-2, -1],
        ),
        processor=dict(num_additional_image_tokens=0), layout=layouts.module_names,
    ),
}


def parts(case: Case, configured: LlavaNextConfig) -> LlavaNextProcessor:
    vision = configured.vision_config
    side = {"height": vision.image_size, "width": vision.image_size}
    images = LlavaNextImageProcessor(**({
        "size": {"shortest_edge": vision.image_size}, "crop_size": side,
        "image_grid_pinpoints": configured.image_grid_pinpoints,
    } | case.image_processor))
    return LlavaNextProcessor(
        image_processor=images, tokenizer=name_tokens(KINDS[case.tokenizer](), case.tokenizer),
        patch_size=vision.patch_size, chat_template=template(case),
        vision_feature_select_strategy=configured.vision_feature_select_strategy,
        **({"num_additional_image_tokens": 1} | case.processor),
    )


def config(case: Case) -> LlavaNextConfig:
    text, vision = (AutoConfig.for_model(**part) for part in (case.text, case.vision))
    return LlavaNextConfig(
        text_config=text, vision_config=vision, image_token_index=image_token(case), **case.llava
    )


def build(case: Case, folder: Path, seed: int) -> None:
    """Writes the checkpoint of a case, without anything expected."""
    configured = config(case)
    model = LlavaNextForConditionalGeneration(configured)
    randomise(model, seed)
    model = model.to(getattr(torch, case.dtype))
    case.layout(Layout(folder=folder, model=model, processor=parts(case, configured), template=template(case)))


def write_layouts(target: Path) -> None:
    """The prompt's ids with pictures of many sizes, for the numbers of the published models."""
    case = Case(
        tokenizer="byte_fallback", template="mistral", prompts=INST, layout=layouts.current,
        vision={"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14, "hidden_size": 1024,
                "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
        text=decoder("mistral"),
    )
    configured = config(case)
    with publish(target) as folder:
        configured.architectures = ["LlavaNextForConditionalGeneration"]
        configured.save_pretrained(folder)
        parts(case, configured).save_pretrained(folder)
        processor, found = AutoProcessor.from_pretrained(folder), []
        for height, width in SIZES:
            image = Image.new("RGB", (width, height))
            ids = processor(images=image, text="<image>", return_tensors="pt")["input_ids"][0].tolist()
            runs = []
            for id in ids:
                if runs and runs[-1][0] == id:
                    runs[-1][1] += 1
                else:
                    runs.append([id, 1])
            found.append({"size": [height, width], "prompt": "<image>", "runs": runs})
        write_json(folder / "expected.json", {"versions": versions(), "layouts": found})
    report(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}, layouts; default: all")
    parser.add_argument("--output", type=Path, default=FIXTURES / "llava_next")
    parser.add_argument("--images", type=Path, default=FIXTURES / "images")
    arguments = parser.parse_args()
    quiet()
    for name in arguments.cases or [*CASES, "layouts"]:
        if name == "layouts":
            write_layouts(arguments.output / name)
        else:
            make(name, CASES[name], arguments.output, arguments.images, build, NextReference)


if __name__ == "__main__":
    main()
