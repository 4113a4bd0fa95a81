"""Does transformers agree with a checkpoint that `save_pretrained` wrote?

    python reference/check_saved.py SAVED FIXTURE [--variant NAME]

SAVED is the written folder, FIXTURE the folder with `expected.json` and `expected.safetensors`
that it was loaded from. Weights, configuration, tokenizer and processor all come from SAVED.
Exit code 0: every request has the same ids, pixels, logits (within 1e-4 relative norm, or
--tolerance) and greedy tokens; 1: the differences are listed.
"""

import argparse
import copy
import sys
from pathlib import Path

from common import FIXTURES, greedy, quiet, read_json, relative_error

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers import AutoProcessor, AutoTokenizer


class Comparison:
    """A saved folder beside what is expected of it; collects what differs."""

    def __init__(self, saved: Path, tolerance: float):
        config = AutoConfig.from_pretrained(saved)
        # Fuyu has no tower and no configuration of one.
        self.vision = hasattr(config, "vision_config") or config.model_type == "fuyu"
        loader = AutoModelForImageTextToText if self.vision else AutoModelForCausalLM
        self.model, info = loader.from_pretrained(saved, dtype=torch.float32, output_loading_info=True)
        self.processor = (AutoProcessor if self.vision else AutoTokenizer).from_pretrained(saved)
        self.tolerance = tolerance
        self.problems = [f"{kind}: {sorted(map(str, keys))}" for kind, keys in info.items() if keys]

    def inputs(self, request: dict, pictures: Path) -> dict:
        """The request through the saved tokenizer or processor."""
        options = {"return_tensors": "pt"}
        if self.vision:
            # Kosmos-2's processor does not know how many latents the model has.
            if latents := getattr(self.model.config, "latent_query_num", None):
                options["num_image_tokens"] = latents
            images = [Image.open(pictures / Path(path).name) for path in request["images"]]
            if self.model.config.model_type == "fuyu" and images:
                options["return_legacy_image_output"] = False
            return self.processor(images=images or None, text=request["prompt"], **options)
        return self.processor(request["prompt"], return_token_type_ids=False, **options)

    def fresh(self):
        """A model that never ran: dynamic frequencies remember what they have seen."""
        return copy.deepcopy(self.model).eval()

    def request(self, name: str, request: dict, tensors: dict, pictures: Path) -> None:
        """Compares one request."""
        inputs = self.inputs(request, pictures)
        self.same(f"{name}: prompt tokens", inputs["input_ids"][0].tolist(), request["prompt_tokens"])
        if "pixel_values" in inputs and inputs["pixel_values"].dim() == 2:
            # Fuyu's processor has made patches of them.
            expected = self.processor.image_processor.patchify_image(tensors[f"{name}.pixel_values"])
            self.near(f"{name}: patches", inputs["pixel_values"], expected.flatten(0, 1), 1e-6)
        elif "pixel_values" in inputs:
            # Some processors put the crops of a prompt's pictures into a dimension of their own.
            pixels = inputs["pixel_values"].flatten(0, -4)
            if pixels.shape != tensors[f"{name}.pixel_values"].shape:
                # Pictures with fewer crops than others are filled up with empty ones.
                pixels = pixels[pixels.flatten(1).any(1)]
            self.near(f"{name}: pixels", pixels, tensors[f"{name}.pixel_values"], 1e-6)
        expected = tensors[f"{name}.logits"]
        logits = self.fresh()(**inputs).logits[0, -len(expected) :]
        self.near(f"{name}: logits", logits, expected, self.tolerance)
        self.same(f"{name}: tokens", greedy(self.fresh(), inputs)[0], request["tokens"])

    def same(self, what: str, found: list, expected: list) -> None:
        if found != expected:
            self.problems.append(f"{what} differ: {found} instead of {expected}")

    def near(self, what: str, found, expected, tolerance: float) -> None:
        if found.shape != expected.shape:
            self.problems.append(f"{what} have shape {list(found.shape)} instead of {list(expected.shape)}")
            return
        error = relative_error(found, expected)
        print(f"{what}: {error:.2e}")
        if not error <= tolerance:
            self.problems.append(f"{what} are {error:.2e} away, allowed {tolerance:.0e}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("saved", type=Path, help="folder written by save_pretrained")
    parser.add_argument("fixture", type=Path, help="folder with expected.json and expected.safetensors")
    parser.add_argument("--variant", default="default", help="of a fixture of text.py")
    parser.add_argument("--images", type=Path, default=FIXTURES / "images")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    quiet()
    expected = read_json(arguments.fixture / "expected.json")
    tensors = load_file(arguments.fixture / "expected.safetensors")
    prefix = ""
    if "variants" in expected:
        expected = next(one for one in expected["variants"] if one["name"] == arguments.variant)
        prefix = f"{arguments.variant}."
    comparison = Comparison(arguments.saved, arguments.tolerance)
    for number, request in enumerate(expected["requests"]):
        comparison.request(f"{prefix}request_{number}", request, tensors, arguments.images)
    for problem in comparison.problems:
        print(f"differs: {problem}", file=sys.stderr)
    return 1 if comparison.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
