"""What the files beside tokenizer.json change: tokens of tokenizer_config.json,
special_tokens_map.json and added_tokens.json, and classes that build the tokenizer anew.

    python reference/tokenizer_files.py

A case takes a tokenizer of `tokenizer_kinds`, changes keys of its tokenizer.json, puts files
beside it and loads the folder with `AutoTokenizer`. `files.json` holds the cases with the ids,
the texts and the named tokens that come out.
"""

import argparse
import tempfile
from pathlib import Path

from common import TEXT_FIXTURES, read_json, report, write_json
from tokenizer_kinds import KINDS, SAMPLES

from transformers import AutoTokenizer

#: Beside those of every tokenizer: a named token, one that no file has, words on both sides.
TEXTS = SAMPLES + [
    "a<s> b</s>c <extra>d <new> e<pad>",
    "x <|im_end|> y<|endoftext|>z",
    "In 1992 there",
]


def token(text: str, **flags) -> dict:
    """An entry of `added_tokens_decoder`."""
    base = dict(content=text, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
    return base | flags


def case(kind: str, model: str = "llava", drop: tuple = (), change: dict | None = None, **files) -> dict:
    """A case: `files` by their names without `.json`."""
    files = {f"{name}.json": content for name, content in files.items()}
    return dict(kind=kind, model_type=model, drop=list(drop), change=change or {}, files=files)


NAMED = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
LLAMA = NAMED | dict(tokenizer_class="LlamaTokenizerFast", add_bos_token=False, add_eos_token=True)
ADDED = {"0": token("<unk>"), "1": token("<s>"), "2": token("</s>"), "380": token("<image>"), "381": token("<pad>")}

CASES = {
    # Taken as it stands; what is not in tokenizer.json is added.
    "decoder": case("byte_fallback", drop=("<pad>",), tokenizer_config=LLAMA | dict(
        pad_token="<pad>", added_tokens_decoder=ADDED | {"382": token("<extra>", lstrip=True, special=False)},
    )),
    # The file beside it makes a token plain that tokenizer.json has as special, and one special that is plain.
    "flags": case("byte_fallback", tokenizer_config=NAMED | dict(added_tokens_decoder={
        "380": token("<image>", special=False), "381": token("<pad>", lstrip=True),
        "259": token("e", special=True, single_word=True),
    })),
    "named": case("byte_fallback", tokenizer_config=NAMED | dict(
        bos_token=token("<s>", lstrip=True) | {"__type": "AddedToken"}, pad_token="<new>", image_token="<extra>",
        additional_special_tokens=["<|im_end|>"], clean_up_tokenization_spaces=True,
    )),
    # A named token is special, though its entry says that it is not.
    "named_plain": case("byte_fallback", drop=("<pad>",), tokenizer_config=NAMED | dict(
        pad_token="<pad>", added_tokens_decoder=ADDED | {"381": token("<pad>", special=False)},
    )),
    "extra_names": case("byte_fallback", tokenizer_config=NAMED | dict(
        extra_special_tokens={"image_token": "<image>", "video_token": "<new>"},
    )),
    # Old folders, whose tokenizer_config.json has no `added_tokens_decoder`.
    "map": case(
        "byte_fallback_prepend", drop=("<pad>", "<image>"),
        tokenizer_config=dict(bos_token="<wrong>", tokenizer_class="LlamaTokenizer", sp_model_kwargs={}),
        special_tokens_map=dict(
            bos_token={key: value for key, value in token("<s>").items() if key != "special"},
            eos_token="</s>", pad_token="<pad>", extra_special_tokens=["<|im_end|>"],
        ),
        added_tokens={"<extra>": 384, "<pad>": 380, "<image>": 381},
    ),
    "map_beside_decoder": case(
        "byte_fallback", tokenizer_config=NAMED | dict(added_tokens_decoder=ADDED),
        special_tokens_map=dict(bos_token="<new>"), added_tokens={"<extra>": 382},
    ),
    "map_alone": case("unigram", special_tokens_map=dict(bos_token="<s>", eos_token="</s>", pad_token="<new>")),
    "clean_up": case("unigram", tokenizer_config=NAMED | dict(clean_up_tokenization_spaces=True)),
    "split": case("byte_level", tokenizer_config=dict(eos_token="<|im_end|>", split_special_tokens=True)),
    # Classes that build the tokenizer anew from the vocabulary, where the model is a Llama.
    "llama": case("byte_fallback_prepend", "llama", tokenizer_config=LLAMA),
    "llama_legacy": case("byte_fallback_prepend", "llama", tokenizer_config=LLAMA | dict(
        legacy=True, added_tokens_decoder=ADDED, pad_token=None,
    )),
    "llama_no_space": case("byte_fallback", "llama", tokenizer_config=LLAMA | dict(add_prefix_space=False)),
    "llama_defaults": case(
        "byte_fallback", "llama", drop=("<s>", "</s>", "<unk>"), tokenizer_config=dict(tokenizer_class="LlamaTokenizer"),
    ),
    "llama_byte_level": case("byte_level", "llama", tokenizer_config=dict(tokenizer_class="LlamaTokenizerFast")),
    "llama_no_class": case("byte_fallback_prepend", "llama", tokenizer_config=NAMED),
    "llama_class_in_config": case(
        "byte_fallback_prepend", "llama", tokenizer_config=NAMED, config=dict(tokenizer_class="LlamaTokenizer"),
    ),
    "mistral": case("byte_fallback_prepend", "mistral", tokenizer_config=LLAMA),
    "llama_gpt2": case("byte_level", "llama", tokenizer_config=dict(
        tokenizer_class="GPT2Tokenizer", bos_token="<|im_start|>", eos_token="<|im_end|>",
    )),
    "llama_gpt2_space": case("byte_level", "llama", tokenizer_config=dict(
        tokenizer_class="GPT2TokenizerFast", add_prefix_space=True, pad_token="<new>",
    )),
    "llama_qwen2": case("byte_level", "llama", change=dict(normalizer=None), tokenizer_config=dict(
        tokenizer_class="Qwen2Tokenizer", eos_token="<|im_end|>",
    )),
    "qwen2": case(
        "byte_level", "qwen2", change=dict(
            normalizer=None,
            pre_tokenizer=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
        ),
        tokenizer_config=dict(tokenizer_class="PreTrainedTokenizerFast", eos_token="<|im_end|>"),
    ),
    "qwen2_alone": case("byte_level", "qwen2", drop=("<|im_start|>",), tokenizer_config=dict(
        added_tokens_decoder={"376": token("<|endoftext|>"), "378": token("<|im_end|>")}, add_prefix_space=True,
    )),
}


def write(case: dict, folder: Path) -> None:
    """The folder of a case."""
    tokenizer = read_json(TEXT_FIXTURES / "tokenizers" / f"{case['kind']}.json")
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] not in case["drop"]]
    write_json(folder / "tokenizer.json", tokenizer | case["change"])
    write_json(folder / "config.json", {"model_type": case["model_type"]})
    for name, content in case["files"].items():
        config = {"model_type": case["model_type"]} if name == "config.json" else {}
        write_json(folder / name, config | content)


def expect(case: dict) -> dict:
    """The case with what transformers makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        write(case, Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    samples = []
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        samples.append({"text": text, "ids": ids, "decoded": decoded})
    return case | {
        "class": type(tokenizer).__name__, "special_tokens": tokenizer.special_tokens_map,
        "length": len(tokenizer), "samples": samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=TEXT_FIXTURES / "tokenizer_files")
    output = parser.parse_args().output
    assert all(case["kind"] in KINDS for case in CASES.values())
    output.mkdir(exist_ok=True)
    write_json(output / "files.json", {name: expect(case) for name, case in CASES.items()})
    report(output)


if __name__ == "__main__":
    main()
