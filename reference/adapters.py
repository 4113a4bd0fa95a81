"""LoRA adapters that peft writes for the tiny models, and the logits that they give there.

    python reference/adapters.py

Each adapter is a folder in PEFT's layout beside `expected.json` (prompt, tokens of the greedy
answer) and `expected.safetensors` (logits of the prompt): decoders under `vlm-text/tests/fixtures/adapters`,
a LLaVA under `vlm/tests/fixtures/adapters`.
"""

from pathlib import Path

from common import FIXTURES, TEXT_FIXTURES, publish, quiet, read_json, report, versions, write_json
from text import load

import peft
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

#: name -> decoder and configuration.
DECODERS = {
    "plain": ("llama", dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"])),
    "patterns": ("qwen2", dict(
        r=3, lora_alpha=5, use_rslora=True, target_modules="all-linear",
        rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"up_proj": 9},
    )),
    "whole": ("mistral", dict(r=2, lora_alpha=4, target_modules=["o_proj"], modules_to_save=["lm_head", "norm"])),
    # Queries, keys and values are one projection.
    "fused": ("persimmon", dict(
        r=3, lora_alpha=6, target_modules=r".*layers\.0\..*query_key_value|.*dense_4h_to_h",
        modules_to_save=["layers.1.self_attn.query_key_value"],
    )),
}


def draw(model, seed: int) -> None:
    """Random factors: fresh ones do nothing. Whole modules change, too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
        elif "modules_to_save" in name:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)


def store(model, folder: Path, inputs: dict, request: dict, plain: torch.Tensor) -> None:
    """The adapter and what the adapted model makes of one request; merged it makes the same."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = read_json(folder / "adapter_config.json")
    config["base_model_name_or_path"] = None
    if isinstance(config["target_modules"], list):
        config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / "adapter_config.json", config)
    logits = model(**inputs).logits[0]
    assert (logits - plain).norm() / plain.norm() > 0.05, "the adapter does nothing"
    merged = model.merge_and_unload()(**inputs).logits[0]
    assert (logits - merged).norm() / logits.norm() < 1e-4
    write_json(folder / "expected.json", {"versions": versions() | {"peft": peft.__version__}, **request})
    save_file({"logits": logits.contiguous()}, folder / "expected.safetensors")


def decoder(name: str, folder: Path) -> None:
    case, options = DECODERS[name]
    request = read_json(TEXT_FIXTURES / case / "expected.json")["variants"][0]["requests"][0]
    inputs = {"input_ids": torch.tensor([request["prompt_tokens"]])}
    model = load(TEXT_FIXTURES / case, "default")
    plain = model(**inputs).logits[0]
    adapted = peft.get_peft_model(model, peft.LoraConfig(**options)).eval()
    draw(adapted, 21)
    store(adapted, folder, inputs, {"case": case, "prompt_tokens": request["prompt_tokens"]}, plain)


def llava(folder: Path) -> None:
    source = FIXTURES / "llava" / "clip-llama"
    request = read_json(source / "expected.json")["requests"][0]
    processor = AutoProcessor.from_pretrained(source)
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()
    images = [Image.open(source / image) for image in request["images"]]
    inputs = dict(processor(images=images, text=request["prompt"], return_tensors="pt"))
    plain = model(**inputs).logits[0]
    options = dict(
        r=4, lora_alpha=8, target_modules=r".*language_model.*\.(q_proj|v_proj)", modules_to_save=["multi_modal_projector"]
    )
    adapted = peft.get_peft_model(model, peft.LoraConfig(**options)).eval()
    draw(adapted, 22)
    request = {"case": "clip-llama", "images": request["images"], "prompt": request["prompt"]}
    store(adapted, folder, inputs, request, plain)


def main() -> None:
    quiet()
    for name in DECODERS:
        with publish(TEXT_FIXTURES / "adapters" / name) as folder:
            decoder(name, folder)
        report(TEXT_FIXTURES / "adapters" / name)
    with publish(FIXTURES / "adapters" / "clip-llama") as folder:
        llava(folder)
    report(FIXTURES / "adapters" / "clip-llama")


if __name__ == "__main__":
    main()
