"""Beam searches and processed logits of transformers, on the decoders that text.py wrote.

    python reference/generation.py

`generation/beams.json` holds searches of one left-padded batch, each with its answers and their
scores; `generation/processors.json` holds random logits before and after each logits processor;
`generation/stops.json` holds greedy answers that a stop string ends.
"""

import argparse
import itertools
from pathlib import Path

from common import TEXT_FIXTURES, publish, quiet, read_json, report, versions, write_json
from text import load

import torch
from transformers import AutoTokenizer
from transformers.generation import logits_process

MAX_NEW_TOKENS = 12
#: Two answers whose scores are nearer than this could change places by rounding.
MIN_GAP = 5e-6

#: What a search is asked; `ends` more tokens, taken from the search without them, end an answer.
SEARCHES = [
    dict(num_beams=2, num_return_sequences=2, length_penalty=1.0, early_stopping=False, ends=0),
    dict(num_beams=3, num_return_sequences=3, length_penalty=2.0, early_stopping=True, ends=2),
    dict(num_beams=4, num_return_sequences=4, length_penalty=-1.0, early_stopping="never", ends=3),
    dict(num_beams=4, num_return_sequences=2, length_penalty=0.0, early_stopping=False, ends=2),
    dict(num_beams=3, num_return_sequences=3, length_penalty=1.5, early_stopping="never", ends=4),
    dict(num_beams=3, num_return_sequences=2, length_penalty=0.5, early_stopping=False, ends=3),
    dict(
        num_beams=2, num_return_sequences=1, length_penalty=1.0, early_stopping=True, ends=1,
        repetition_penalty=1.4, no_repeat_ngram_size=2,
    ),
]


def strip(tokens: list[int], ends: list[int]) -> list[int]:
    """`tokens` up to the first end token."""
    return list(itertools.takewhile(lambda token: token not in ends, tokens))


def search(model, inputs: dict, options: dict, ends: list[int]) -> tuple[list, list]:
    """Answers without their end tokens, and their scores."""
    output = model.generate(
        **inputs, **options, do_sample=False, max_new_tokens=MAX_NEW_TOKENS, eos_token_id=ends,
        pad_token_id=0, return_dict_in_generate=True, output_scores=True,
    )
    new = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    return [strip(tokens, ends) for tokens in new], output.sequences_scores.tolist()


def end_tokens(model, inputs: dict, options: dict, count: int) -> list[int]:
    """The model's end tokens and `count` that its answers hold at different places."""
    known = model.generation_config.eos_token_id
    known = known if isinstance(known, list) else [known]
    answers, _ = search(model, inputs, options, known)
    places = [(row, 2 + 3 * step) for step in range(4) for row in range(len(answers))]
    found = [answers[row][place] for row, place in places if place < len(answers[row])]
    return known + list(dict.fromkeys(token for token in found if token not in known))[:count]


def beams(case: str) -> list[dict]:
    """All searches of a decoder; answers must not hang on rounding or on the batch."""
    folder = TEXT_FIXTURES / case
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, exact = load(folder, "default"), load(folder, "default").double()
    prompts = [one["prompt"] for one in read_json(folder / "expected.json")["variants"][0]["requests"]]
    encode = lambda texts: tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    inputs = encode(prompts)
    found = []
    for options in SEARCHES:
        options = dict(options)
        count = options.pop("ends")
        ends = end_tokens(model, inputs, options, count)
        together, _ = search(model, inputs, options, ends)
        assert together == search(exact, inputs, options, ends)[0], "hangs on rounding"
        alone = [search(model, encode(prompt), options, ends) for prompt in prompts]
        answers, scores = (sum(part, []) for part in zip(*alone))
        # n-grams count padding in a batch, so there a prompt alone decides.
        assert "no_repeat_ngram_size" in options or answers == together, "hangs on the batch"
        several = options["num_return_sequences"]
        gaps = [scores[i] - scores[i + 1] for i in range(len(scores) - 1) if (i + 1) % several]
        assert all(gap > MIN_GAP for gap in gaps), f"two answers are near a tie: {gaps}"
        lengths = [len(answer) for answer in answers]
        print(f"  {case} {options}: lengths {lengths}")
        found.append({
            "case": case, **options, "eos_token_ids": ends, "max_new_tokens": MAX_NEW_TOKENS,
            "prompts": [tokenizer(prompt)["input_ids"] for prompt in prompts],
            "answers": answers, "scores": [round(score, 6) for score in scores],
        })
    return found


def stops(case: str) -> list[dict]:
    """Greedy answers that end with pieces of their own text, most of which begin and end inside of tokens."""
    folder = TEXT_FIXTURES / case
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = load(folder, "default")
    found = []
    for one in read_json(folder / "expected.json")["variants"][0]["requests"]:
        whole = tokenizer.decode(one["tokens"], skip_special_tokens=True)
        # Bytes that make no character have no text that could be looked for.
        pieces = [whole[start : start + size] for start in range(0, len(whole), 3) for size in (2, 5)]
        pieces = [piece for piece in dict.fromkeys(pieces) if piece.isascii() and piece.isprintable() and len(piece) > 1]
        for piece in pieces[:: max(1, len(pieces) // 6)]:
            inputs = tokenizer(one["prompt"], return_tensors="pt", return_token_type_ids=False)
            output = model.generate(
                **inputs, do_sample=False, max_new_tokens=len(one["tokens"]), stop_strings=[piece, "not there"],
                tokenizer=tokenizer, pad_token_id=0,
            )
            tokens = output[0, inputs["input_ids"].shape[1] :].tolist()
            assert tokens == one["tokens"][: len(tokens)]
            prompt = inputs["input_ids"][0].tolist()
            found.append({"case": case, "stop": piece, "prompt": prompt, "limit": len(one["tokens"]), "tokens": tokens})
    assert any(len(stop["tokens"]) < stop["limit"] for stop in found)
    return found


VOCABULARY = 40

#: name -> what transformers calls it and with what.
PROCESSORS = {
    "sequence_bias": ("SequenceBiasLogitsProcessor", {"sequence_bias": [[[3], 2.5], [[7, 9], -4.0], [[11, 12, 5], 6.0]]}),
    "bad_words_ids": ("NoBadWordsLogitsProcessor", {"bad_words_ids": [[4], [7, 2]], "eos_token_id": [4, 1]}),
    "repetition_penalty": ("RepetitionPenaltyLogitsProcessor", {"penalty": 1.7}),
    "no_repeat_ngram_size_1": ("NoRepeatNGramLogitsProcessor", {"ngram_size": 1}),
    "no_repeat_ngram_size_3": ("NoRepeatNGramLogitsProcessor", {"ngram_size": 3}),
    "temperature": ("TemperatureLogitsWarper", {"temperature": 0.35}),
    "top_k": ("TopKLogitsWarper", {"top_k": 5}),
    "top_k_all": ("TopKLogitsWarper", {"top_k": 100}),
    "top_p": ("TopPLogitsWarper", {"top_p": 0.8}),
    "top_p_small": ("TopPLogitsWarper", {"top_p": 0.01}),
    "min_p": ("MinPLogitsWarper", {"min_p": 0.15}),
}
#: The order of `_get_logits_processor`.
CHAIN = ["sequence_bias", "repetition_penalty", "no_repeat_ngram_size_3", "temperature", "top_k", "top_p", "min_p"]

HISTORIES = [[5, 7], [11, 12, 6, 11, 12], [1, 2, 3, 1, 2, 3, 1, 2], [39, 38, 4, 4, 4, 7]]


def processors() -> dict:
    """Each processor, and a chain of them, on random logits after several histories."""
    generator = torch.Generator().manual_seed(17)
    cases = []
    for history in HISTORIES:
        logits = (3 * torch.randn(1, VOCABULARY, generator=generator)).round(decimals=3)
        ids = torch.tensor([history])
        make = lambda name: getattr(logits_process, PROCESSORS[name][0])(**PROCESSORS[name][1])
        after = {name: make(name)(ids, logits.clone()) for name in PROCESSORS}
        chained = logits.clone()
        for name in CHAIN:
            chained = make(name)(ids, chained)
        after["chain"] = chained
        # What is forbidden has no number in JSON.
        numbers = lambda row: [None if value == -torch.inf else value for value in row[0].tolist()]
        cases.append({
            "history": history, "logits": numbers(logits),
            "processed": {name: numbers(row) for name, row in after.items()},
        })
    return {"versions": versions(), "cases": cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=TEXT_FIXTURES)
    arguments = parser.parse_args()
    quiet()
    with publish(arguments.output / "generation") as folder:
        found = sum((beams(case) for case in ("llama", "mistral", "qwen2")), [])
        write_json(folder / "beams.json", {"versions": versions(), "searches": found})
        write_json(folder / "processors.json", processors())
        found = sum((stops(case) for case in ("llama", "mistral", "qwen2")), [])
        write_json(folder / "stops.json", {"versions": versions(), "answers": found})
    report(arguments.output / "generation")


if __name__ == "__main__":
    main()
