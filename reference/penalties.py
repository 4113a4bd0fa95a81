"""Answers of whole models under penalties that look at the prompt, whose pictures count there as tokens.

    python reference/penalties.py

Writes `vlm/tests/fixtures/penalties.json`: for each checkpoint folder and request of its `expected.json` the greedy
tokens under each set of options.
"""

from pathlib import Path

from common import FIXTURES, MIN_MARGIN, quiet, read_json, strip_end, versions, write_json

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

FOLDERS = ["llava/clip-llama", "llava/siglip-qwen2", "llava_next/mistral", "kosmos2/grounding", "idefics3/smolvlm"]
OPTIONS = [
    {"repetition_penalty": 1.6},
    {"repetition_penalty": 0.7, "no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 1},
]


def answers(folder):
    model = AutoModelForImageTextToText.from_pretrained(FIXTURES / folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(FIXTURES / folder)
    for number, request in enumerate(read_json(FIXTURES / folder / "expected.json")["requests"]):
        images = [Image.open(FIXTURES / "images" / Path(path).name).convert("RGB") for path in request["images"]]
        inputs = processor(images=images or None, text=request["prompt"], return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == request["prompt_tokens"]
        for options in OPTIONS:
            output = model.generate(
                **inputs, do_sample=False, num_beams=1, max_new_tokens=10, output_scores=True,
                return_dict_in_generate=True, **options,
            )
            best = torch.stack(output.scores)[:, 0].topk(2, dim=-1).values
            if (best[:, 0] - best[:, 1]).min() < MIN_MARGIN:
                continue  # Rounding could change it.
            tokens = output.sequences[0, len(request["prompt_tokens"]) :].tolist()
            yield {"folder": folder, "request": number, **options, "tokens": strip_end(model, tokens)}


def main():
    quiet()
    found = [answer for folder in FOLDERS for answer in answers(folder)]
    for folder in FOLDERS:
        print(folder, sum(answer["folder"] == folder for answer in found))
    write_json(FIXTURES / "penalties.json", {"versions": versions(), "answers": found})


if __name__ == "__main__":
    main()
