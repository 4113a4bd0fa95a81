"""Does transformers answer as `generate` does with the model that ships?

    python reference/shipped.py [--generate target/release/generate] [--model examples/world/model]

Asks both about the pictures of examples/world/pictures. Exit code 0: every answer is the same.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

WORLD = Path(__file__).resolve().parent.parent / "examples" / "world"
QUESTIONS = {
    "shapes": ["What is in the picture?", "How many hearts are there?", "Where is the yellow heart?"],
    "word": ["What does it say?", "What colour is the text?"],
    "digit": ["Which digit is this?", "What colour is the digit?"],
    "chart": ["Which bar is the highest?", "What is the value of S?", "How many bars are there?"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generate", default="target/release/generate")
    parser.add_argument("--model", type=Path, default=WORLD / "model")
    args = parser.parse_args()
    processor = AutoProcessor.from_pretrained(args.model)
    model = LlavaForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32).eval()
    differ = 0
    for name, questions in QUESTIONS.items():
        path = WORLD / "pictures" / f"{name}.png"
        for question in questions:
            content = [{"type": "image", "image": Image.open(path)}, {"type": "text", "text": question}]
            inputs = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True,
                return_dict=True, return_tensors="pt",
            )
            with torch.no_grad():
                ids = model.generate(**inputs, do_sample=False, max_new_tokens=64)
            theirs = processor.decode(ids[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True).strip()
            command = [args.generate, "--model", str(args.model), "--image", str(path), question]
            ours = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            differ += ours != theirs
            print(f"{name}: {question} {ours}" + ("" if ours == theirs else f"  (transformers: {theirs})"))
    print(f"{differ} answers differ" if differ else "all answers are the same")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
