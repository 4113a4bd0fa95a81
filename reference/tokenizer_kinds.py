"""Small tokenizers of the three kinds that vision-language checkpoints carry.

    python reference/tokenizer_kinds.py

- `byte_level`: byte-level BPE with Qwen2's split (GPT-2, Qwen2, SmolLM).
- `byte_fallback`: BPE over SentencePiece text with byte fallback (Llama, Vicuna), either with
  the older `Prepend` and `Replace` normalizer or with a `Metaspace` pre-tokenizer.
- `unigram`: Unigram over Metaspace, with an `<image>` token that eats the spaces before it.

Image and padding tokens follow the base vocabulary, as in LLaVA-1.5's own files. The fixtures
hold each tokenizer.json with texts, their ids and the decoded ids.
"""

import argparse
import math
from collections import Counter
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

from common import TEXT_FIXTURES, publish, report, write_json

#: Written for these fixtures; the role names are there so that prompts stay short.
CORPUS = """\
USER: What is in the picture? ASSISTANT: The picture shows a cat that looks at the camera.
USER: Describe the image. ASSISTANT: A red cup of coffee stands on a wooden table.
USER: How many people are there? ASSISTANT: There is one person, who wears an orange suit.
[INST] What colour is the cup? [/INST] The cup is red and the coffee is brown.
A small grey cat sleeps in the warm sun near the old window while the rain falls outside.
The astronaut holds a helmet; behind her stand a flag and a model of a rocket.
She said: "I don't know what this is, but it's beautiful, isn't it?" They weren't sure.
In 1992 there were 24 hours in a day, 365 days in a year and 7 days in a week.
user system assistant: you are a helpful assistant. Compare the first with the second image.
""".splitlines()

#: Texts whose ids the fixtures state.
SAMPLES = [
    "What is in the picture?",
    "  two spaces,\ttab and\n\nlines ",
    "don't WE'LL they're 1992 3,14",
    "naïve café – 猫が好き 🐈",
    "before <image> after",
    "<image>\nDescribe",
    "",
]

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def special(text: str, **flags) -> AddedToken:
    """A special token that normalizers do not see."""
    return AddedToken(text, special=True, normalized=False, **flags)


def byte_level(size: int = 376, corpus: list[str] = CORPUS) -> Tokenizer:
    """Byte-level BPE: `size` base tokens, then the ChatML tokens and `<image>`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated", invert=False)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
    tokenizer.add_special_tokens([special(name) for name in names])
    return tokenizer


def byte_fallback(metaspace: bool, size: int = 380) -> Tokenizer:
    """Llama's kind: `<unk> <s> </s>`, the 256 bytes, pieces; then `<image>` and `<pad>`."""
    named = ["<unk>", "<s>", "</s>"]
    names = named + [f"<0x{byte:02X}>" for byte in range(256)]
    draft = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    draft.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=names, show_progress=False)
    draft.train_from_iterator(CORPUS, trainer)
    # The bytes are plain vocabulary, not added tokens: text "<0x41>" must not become one.
    tokenizer = Tokenizer(models.BPE.from_file(*_saved(draft), unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = sentencepiece_decoder()
    tokenizer.add_special_tokens([special(name) for name in named + ["<image>", "<pad>"]])
    tokenizer.post_processor = with_bos(tokenizer)
    return tokenizer


def unigram(size: int = 380) -> Tokenizer:
    """Unigram with `<image>` as an added token that strips the spaces on its left."""
    named = ["<unk>", "<s>", "</s>"]
    # The library's trainer gives another vocabulary at each run: count pieces here instead.
    pieces = [(name, 0.0) for name in named] + unigram_pieces(size - len(named))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([special(name) for name in named])
    tokenizer.add_special_tokens([special("<image>", lstrip=True), special("<pad>")])
    tokenizer.post_processor = with_bos(tokenizer)
    return tokenizer


def unigram_pieces(size: int) -> list[tuple[str, float]]:
    """All characters, then the parts of words that save most, each with its log frequency."""
    counts = Counter()
    for word in (f"▁{word}" for line in CORPUS for word in line.split()):
        spans = ((i, j) for i in range(len(word)) for j in range(i + 1, min(i + 9, len(word)) + 1))
        counts.update(word[i:j] for i, j in spans)
    counts["\n"] = len(CORPUS)
    worth = {piece: (len(piece) == 1, count * (len(piece) - 1)) for piece, count in counts.items()}
    kept = sorted(counts, key=lambda piece: (worth[piece], piece), reverse=True)[:size]
    total = sum(counts.values())
    return [(piece, round(math.log(counts[piece] / total), 6)) for piece in kept]


def sentencepiece_decoder() -> decoders.Decoder:
    """Llama's: spaces back, bytes joined, the first space dropped."""
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return decoders.Sequence(steps)


def with_bos(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    """Puts `<s>` before a text."""
    bos = [("<s>", tokenizer.token_to_id("<s>"))]
    return processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=bos)


def _saved(tokenizer: Tokenizer) -> tuple[str, str]:
    """Paths of a trained BPE's vocabulary and merges, in a folder that lives with the process."""
    import tempfile

    _saved.folder = tempfile.TemporaryDirectory()
    return tuple(tokenizer.model.save(_saved.folder.name))


KINDS = {
    "byte_level": byte_level,
    "byte_fallback": lambda: byte_fallback(metaspace=True),
    "byte_fallback_prepend": lambda: byte_fallback(metaspace=False),
    "unigram": unigram,
}


def sample(tokenizer: Tokenizer, text: str) -> dict:
    """A text with its ids and what they decode to."""
    ids = tokenizer.encode(text).ids
    return {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=TEXT_FIXTURES / "tokenizers")
    output = parser.parse_args().output
    with publish(output) as folder:
        for name, build in KINDS.items():
            tokenizer = build()
            tokenizer.save(str(folder / f"{name}.json"))
            write_json(folder / f"{name}.expected.json", [sample(tokenizer, text) for text in SAMPLES])
    report(output)


if __name__ == "__main__":
    main()
