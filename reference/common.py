"""What the reference scripts share: folders, random weights, greedy decoding.

Import this before torch or transformers: it puts them offline and on two threads.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

REPOSITORY = Path(__file__).resolve().parent.parent
#: Fixtures of the facade (pictures, whole models) and of the decoders alone.
FIXTURES = REPOSITORY / "vlm" / "tests" / "fixtures"
TEXT_FIXTURES = REPOSITORY / "vlm-text" / "tests" / "fixtures"
TEMPLATES = Path(__file__).resolve().parent / "templates"

#: A greedy step whose best two logits are nearer than this could flip by rounding.
MIN_MARGIN = 2e-3


class Unclear(Exception):
    """A greedy step is too near a tie, or an answer repeats itself: take another seed."""


@contextlib.contextmanager
def publish(target: Path):
    """Gives an empty folder to fill; it replaces `target` only when all went well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.parent / f".{target.name}.building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        yield building
        retired = target.parent / f".{target.name}.retired"
        shutil.rmtree(retired, ignore_errors=True)
        if target.exists():
            target.rename(retired)
        building.rename(target)
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def report(folder: Path) -> None:
    """Prints the folder's files and their sizes."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {sum(file.stat().st_size for file in files) / 1024:.0f} KiB")
    for file in files:
        print(f"  {file.stat().st_size:8d}  {file.relative_to(folder)}")


def write_json(path: Path, value) -> None:
    """Writes readable JSON whose lists of numbers stay on one line."""
    path.write_text(_layout(value, "") + "\n", encoding="utf-8")


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def _layout(value, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(key)}: {_layout(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + row for row in rows) + "\n" + indent + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(inner + _layout(item, inner) for item in value) + "\n" + indent + "]"
    return json.dumps(value, ensure_ascii=False)


def versions() -> dict:
    """The versions of what computed a fixture."""
    import tokenizers
    import torch
    import torchvision
    import transformers

    modules = (transformers, torch, torchvision, tokenizers)
    return {module.__name__: module.__version__ for module in modules}


def quiet() -> None:
    """Two threads, deterministic kernels, no warnings about tiny models."""
    import torch
    import transformers

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def name_tokens(tokenizer, kind: str):
    """A tokenizer of `tokenizer_kinds` as transformers' class, its special tokens named."""
    from transformers import PreTrainedTokenizerFast

    if kind == "byte_level":
        names = dict(eos_token="<|im_end|>", pad_token="<|endoftext|>")
    else:
        names = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **names)


def randomise(model, seed: int) -> None:
    """Draws every parameter so that each term of the forward pass shows in the logits.

    Matrices get a gain above one, norms a weight around one and a bias, biases are not zero;
    a tied or final norm is spread widely, else a tied head repeats its input token.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    tied = getattr(model.config, "tie_word_embeddings", False)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = _scaled(name, noise, tied)


def _scaled(name: str, noise, tied: bool):
    """The random value of the parameter `name`, from standard normal noise."""
    if name.endswith("norm.weight") and tied and "layers." not in name and "vision" not in name:
        return noise
    if "norm" in name or "_ln." in name:
        return 1 + 0.2 * noise if name.endswith("weight") else 0.1 * noise
    if noise.dim() == 1:
        return 0.15 * noise
    if "embed" in name and "patch" not in name:
        return 0.5 * noise
    fan_in = noise[0].numel()
    return 1.3 * noise / fan_in**0.5


def greedy(model, inputs: dict, max_new_tokens: int = 24) -> tuple[list[int], float]:
    """The greedy continuation of one prompt without its end token, and the least margin."""
    import torch

    length = inputs["input_ids"].shape[1]
    output = model.generate(
        **inputs,
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best = torch.stack(output.logits)[:, 0].topk(2, dim=-1).values
    tokens = output.sequences[0, length:].tolist()
    return strip_end(model, tokens), (best[:, 0] - best[:, 1]).min().item()


def end_ids(model) -> set[int]:
    """The ids that end a generation, as a set."""
    ids = model.generation_config.eos_token_id
    return set(ids) if isinstance(ids, list) else {ids}


def strip_end(model, tokens: list[int]) -> list[int]:
    """`tokens` up to the first end token."""
    ends = end_ids(model)
    stop = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:stop]


def relative_error(found, expected) -> float:
    """Norm of the difference over the norm of what was expected."""
    return ((found - expected).norm() / expected.norm()).item()
