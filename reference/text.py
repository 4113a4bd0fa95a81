"""Tiny decoders alone: Llama with every kind of rope scaling, Mistral and Qwen2 with windows, Persimmon.

    python reference/text.py [CASE]...

A case is a folder with one set of weights and one `config*.json` a variant. `expected.json`
states the greedy answers of every variant, `expected.safetensors` the logits of the last
positions of each prompt.
"""

import argparse
import contextlib
import copy
from pathlib import Path

from common import MIN_MARGIN, TEXT_FIXTURES, Unclear, greedy, name_tokens, publish, quiet
from common import randomise, relative_error, report, versions, write_json
from tokenizer_kinds import KINDS

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

SEED = 40
#: Logits are kept for this many positions at the end of a prompt.
POSITIONS = 4
BATCH_TOLERANCE = 1e-4

PROMPTS = [
    "What is in the picture?",
    "The astronaut holds a helmet; behind her stand a flag and a model of a rocket."
    " She said: \"They weren't sure.\"",
    "A red cup of coffee stands on",
]

BASE = dict(
    vocab_size=384, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
    rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=381, torch_dtype="bfloat16",
)
#: Wavelengths of head_dim 8 at theta 10000: 6, 63, 628, 6283.
LLAMA3 = dict(factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=150)
LONGROPE = dict(
    short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.5, 2.5, 4.0, 8.0],
    original_max_position_embeddings=24,
)


def rope(kind: str, **parameters) -> dict:
    """The `rope_parameters` entry of a configuration."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **parameters}}


#: case -> (tokenizer, what all configs share, variant -> what its config adds)
CASES = {
    "llama": ("byte_fallback", BASE | {"model_type": "llama"}, {
        "default": {},
        # The older spelling: `type`, and the base frequency beside it.
        "linear": {"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 2.5}},
        "dynamic": rope("dynamic", factor=2.0) | {"max_position_embeddings": 24},
        "llama3": rope("llama3", **LLAMA3),
        "yarn": rope("yarn", factor=4.0, original_max_position_embeddings=32),
        "longrope": rope("longrope", **LONGROPE) | {"max_position_embeddings": 96},
    }),
    "mistral": ("byte_fallback_prepend", BASE | {"model_type": "mistral", "head_dim": 10}, {
        "default": {"sliding_window": 6},
        "full": {"sliding_window": None},
        "layer_types": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    }),
    "qwen2": ("byte_level", BASE | {
        "model_type": "qwen2", "tie_word_embeddings": True, "num_hidden_layers": 3,
        "bos_token_id": 376, "eos_token_id": [378, 376], "pad_token_id": 376,
    }, {
        # `sliding_window` without `use_sliding_window` does nothing.
        "default": {"sliding_window": 6},
        "max_window_layers": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
        "layer_types": {
            "use_sliding_window": True, "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    }),
}

PERSIMMON = dict(
    model_type="persimmon", vocab_size=384, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
    num_attention_heads=4, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=381,
    torch_dtype="bfloat16",
)
CASES["persimmon"] = ("byte_fallback_prepend", PERSIMMON, {
    "default": {"rope_theta": 25000.0, "partial_rotary_factor": 0.5},
    # Not the released models' base, and half of each head.
    "left_out": {},
    # The inner share counts.
    "inner": {"partial_rotary_factor": 1.0, "hidden_act": "relu", "layer_norm_eps": 0.1}
    | rope("default", partial_rotary_factor=0.75),
    "yarn": rope("yarn", factor=4.0, original_max_position_embeddings=32),
})

#: Frequencies of these depend on the longest position: a batch differs from its parts.
LENGTH_DEPENDENT = {"dynamic", "longrope"}


def config_file(variant: str) -> str:
    """The file of a variant's configuration."""
    return "config.json" if variant == "default" else f"config.{variant}.json"


def write_checkpoint(case: str, folder: Path, seed: int) -> None:
    """Weights, tokenizer and one configuration a variant."""
    kind, shared, variants = CASES[case]
    architecture = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    architecture |= {"persimmon": "PersimmonForCausalLM"}
    for variant, changes in variants.items():
        write_json(folder / config_file(variant), {"architectures": [architecture[case]]} | shared | changes)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    randomise(model, seed)
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    if shared.get("tie_word_embeddings"):
        del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    ends = {key: shared[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    GenerationConfig(**ends).save_pretrained(folder)
    name_tokens(KINDS[kind](), kind).save_pretrained(folder)


def load(folder: Path, variant: str):
    """The weights under a variant's configuration, in f32; no key may be missing or left."""
    config = AutoConfig.from_pretrained(folder / config_file(variant))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    state = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    found = model.load_state_dict(state, strict=False)
    allowed = ["lm_head.weight"] if config.tie_word_embeddings else []
    assert found.missing_keys == allowed and not found.unexpected_keys, found
    model.tie_weights()
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def encode(tokenizer, prompt: str) -> dict:
    """Ids of a prompt; tokenizer.json alone must give the same."""
    inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    assert inputs["input_ids"][0].tolist() == tokenizer.backend_tokenizer.encode(prompt).ids
    return inputs


def answer(model, tokenizer, prompt: str) -> tuple[dict, float, torch.Tensor]:
    """What is expected of a prompt, the least margin, and the prompt's last logits."""
    inputs = encode(tokenizer, prompt)
    tokens, margin = greedy(copy.deepcopy(model), inputs)
    logits = copy.deepcopy(model)(**inputs).logits[0, -POSITIONS:]
    return {
        "prompt": prompt,
        "prompt_tokens": inputs["input_ids"][0].tolist(),
        "tokens": tokens,
        "text": tokenizer.decode(tokens, skip_special_tokens=True),
    }, margin, logits


def batch(model, tokenizer, answers: list[dict], logits: list) -> dict:
    """All prompts in one left-padded batch; asserts that each answers as it does alone."""
    inputs = tokenizer(PROMPTS, padding=True, padding_side="left", return_tensors="pt", return_token_type_ids=False)
    output = copy.deepcopy(model).generate(
        **inputs, do_sample=False, max_new_tokens=24, output_logits=True, return_dict_in_generate=True
    )
    for row, (single, alone) in enumerate(zip(answers, logits)):
        tokens = output.sequences[row, inputs["input_ids"].shape[1] :].tolist()
        assert tokens[: len(single["tokens"])] == single["tokens"]
        assert relative_error(output.logits[0][row], alone[-1]) < BATCH_TOLERANCE
    return {key: inputs[key].tolist() for key in ("input_ids", "attention_mask")}


def expect_variant(folder: Path, variant: str) -> tuple[dict, dict]:
    """A variant's entry in expected.json and its tensors."""
    model, tokenizer = load(folder, variant), AutoTokenizer.from_pretrained(folder)
    answers, margins, logits = zip(*(answer(model, tokenizer, prompt) for prompt in PROMPTS))
    kinds = [len(set(one["tokens"])) for one in answers]
    print(f"  {variant}: margin {min(margins):.4f}, distinct tokens {kinds}")
    if min(margins) < MIN_MARGIN or min(kinds) < 5:
        raise Unclear
    entry = {"name": variant, "config": config_file(variant), "requests": list(answers)}
    if variant not in LENGTH_DEPENDENT:
        entry["batch"] = batch(model, tokenizer, answers, logits)
    names = (f"{variant}.request_{number}.logits" for number in range(len(PROMPTS)))
    return entry, dict(zip(names, logits))


def expect(case: str, folder: Path) -> None:
    """Writes what transformers answers under every variant; they must all differ."""
    entries, tensors = [], {}
    for variant in CASES[case][2]:
        entry, found = expect_variant(folder, variant)
        entries.append(entry)
        tensors |= {name: tensor.contiguous() for name, tensor in found.items()}
    long = [tensors[f"{entry['name']}.request_1.logits"] for entry in entries]
    pairs = ((a, b) for i, a in enumerate(long) for b in long[:i])
    assert all(relative_error(a, b) > 1e-2 for a, b in pairs), "two variants hardly differ"
    write_json(folder / "expected.json", {"versions": versions(), "positions": POSITIONS, "variants": entries})
    save_file(tensors, folder / "expected.safetensors")


def make(case: str, output: Path) -> None:
    """Builds a case with the first seed whose greedy steps are all clear."""
    for seed in range(SEED, SEED + 60):
        print(f"{case}, seed {seed}")
        clear = False
        with contextlib.suppress(Unclear), publish(output / case) as folder:
            write_checkpoint(case, folder, seed)
            expect(case, folder)
            clear = True
        if clear:
            return report(output / case)
    raise SystemExit(f"{case}: no seed has clear margins")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--output", type=Path, default=TEXT_FIXTURES)
    arguments = parser.parse_args()
    quiet()
    for case in arguments.cases or CASES:
        make(case, arguments.output)


if __name__ == "__main__":
    main()
