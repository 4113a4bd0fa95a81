"""Does peft load an adapter that `train` wrote, and does it give the logits that `generate` gives?

    train --model MODEL --train lora --output ADAPTER ..
    generate --model MODEL --adapter ADAPTER --image IMAGE --prompt PROMPT --logits LOGITS --max-new-tokens 1
    python reference/check_adapter.py ADAPTER MODEL LOGITS --image IMAGE --prompt PROMPT

Exit code 0: peft takes every tensor of the folder, and the logits agree within 1e-4 relative norm;
1: what differs is said.
"""

import argparse
import sys
from pathlib import Path

from common import quiet, relative_error

import peft
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

import torch

TOLERANCE = 1e-4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("adapter", type=Path, help="folder in PEFT's layout")
    parser.add_argument("model", type=Path, help="folder of the model that was adapted")
    parser.add_argument("logits", type=Path, help="what `generate --logits` wrote")
    parser.add_argument("--image", type=Path, action="append", default=[])
    parser.add_argument("--prompt", required=True)
    arguments = parser.parse_args()
    quiet()
    loader = AutoModelForImageTextToText if arguments.image else AutoModelForCausalLM
    processor = (AutoProcessor if arguments.image else AutoTokenizer).from_pretrained(arguments.model)
    model = loader.from_pretrained(arguments.model, dtype=torch.float32)
    text = arguments.prompt.replace("\\n", "\n")
    images = {"images": [Image.open(path) for path in arguments.image]} if arguments.image else {}
    inputs = processor(text=text, return_tensors="pt", **images)
    plain = model(**inputs).logits[0]
    adapted = peft.PeftModel.from_pretrained(model, arguments.adapter).eval()
    stored = load_file(arguments.adapter / "adapter_model.safetensors")
    state = peft.get_peft_model_state_dict(adapted)
    problems = []
    if missing := sorted(set(stored) ^ set(state)):
        problems.append(f"peft has other tensors than the file: {missing}")
    problems += [f"{key} was not loaded" for key in set(stored) & set(state) if not torch.equal(stored[key], state[key])]
    logits = adapted(**inputs).logits[0]
    found = load_file(arguments.logits)["logits"]
    error = relative_error(found, logits)
    print(f"{len(stored)} tensors; logits {error:.2e} away; without the adapter {relative_error(plain, logits):.2e}")
    if not error <= TOLERANCE:
        problems.append(f"logits are {error:.2e} away, allowed {TOLERANCE:.0e}")
    for problem in problems:
        print(f"differs: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
