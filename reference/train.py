"""What torch's AdamW makes of a tiny LLaVA: losses of some steps, and where each tensor moved.

    python reference/train.py

The data are the requests of the checkpoint's `expected.json`; each step takes all of them in two
micro-batches, and the loss is the mean over the valid tokens of both. In the run `answers` only the
last tokens of each request are labelled. `lora` and `lora+projector` are peft's, from the adapter under
`vlm/tests/fixtures/adapters`. Updates are written as dot products with fixed vectors; those of
adapters under the keys that peft saves.
"""

import json
from pathlib import Path

from common import FIXTURES, versions

import peft
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

CASE = FIXTURES / "llava" / "clip-llama"
ADAPTER = FIXTURES / "adapters" / "clip-llama"
MODES = {
    "projector": lambda name: "multi_modal_projector" in name,
    "projector+decoder": lambda name: "vision_tower" not in name,
    "all": lambda name: True,
    "answers": lambda name: "vision_tower" not in name,
    "lora": lambda name: "lora_" in name,
    "lora+projector": lambda name: "lora_" in name or "modules_to_save" in name,
}
#: Tokens of a request that the run `answers` learns.
ANSWER = 5
STEPS, RATE, MAX_NORM, DIRECTIONS = 6, 1e-3, 1.0, 8


def micro_batch(processor, requests: list[dict], answers: bool) -> dict:
    """Right-padded inputs with labels on everything but padding and pictures, or on the last tokens."""
    images = [Image.open(CASE / path) for request in requests for path in request["images"]]
    texts = [request["prompt"] for request in requests]
    inputs = processor(images=images or None, text=texts, padding=True, padding_side="right", return_tensors="pt")
    labels = inputs["input_ids"].clone()
    labels[inputs["attention_mask"] == 0] = -100
    labels[labels == processor.image_token_id] = -100
    if answers:
        for row, length in zip(labels, inputs["attention_mask"].sum(1)):
            row[: length - ANSWER] = -100
    return dict(inputs) | {"labels": labels}


def loss_sum(model, inputs: dict) -> torch.Tensor:
    labels = inputs["labels"]
    logits = model(**{key: value for key, value in inputs.items() if key != "labels"}).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )


def directions(size: int) -> torch.Tensor:
    index = torch.arange(1, size + 1, dtype=torch.float64)
    return torch.stack([torch.cos(index * (k + 1)) for k in range(DIRECTIONS)])


def run(mode: str) -> dict:
    model = LlavaForConditionalGeneration.from_pretrained(CASE, dtype=torch.float32)
    if "lora" in mode:
        model = peft.PeftModel.from_pretrained(model, ADAPTER, is_trainable=True)
    model.train()
    processor = AutoProcessor.from_pretrained(CASE)
    requests = json.loads((CASE / "expected.json").read_text())["requests"]
    halves = requests[:2], requests[2:]
    batches = [micro_batch(processor, half, mode == "answers") for half in halves]
    tokens = sum((batch["labels"][:, 1:] != -100).sum().item() for batch in batches)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(MODES[mode](name))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    losses, norms = [], []
    for _ in range(STEPS):
        total = 0.0
        for batch in batches:
            loss = loss_sum(model, batch) / tokens
            loss.backward()
            total += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, MAX_NORM).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    updates = {}
    for key, value in model.state_dict().items():
        change = (value - before[key]).double().flatten()
        if change.any():
            key = key.replace(".modules_to_save.default", "").replace(".default", "")
            updates[key] = (directions(change.numel()) @ change).tolist()
    return {"losses": losses, "norms": norms, "tokens": tokens, "updates": updates}


def main() -> None:
    torch.set_num_threads(2)
    runs = {mode: run(mode) for mode in MODES}
    for mode, found in runs.items():
        print(mode, found["tokens"], [round(loss, 4) for loss in found["losses"]], len(found["updates"]))
    target = FIXTURES / "train" / "clip-llama.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"versions": versions() | {"peft": peft.__version__}, "learning_rate": RATE, "max_grad_norm": MAX_NORM} | {"runs": runs}) + "\n")


if __name__ == "__main__":
    main()
