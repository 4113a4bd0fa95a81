"""Seconds of a training step in torch, of the same model and the same lengths as `train`'s.

Usage: train_speed.py --model DIR [--batch 32] [--positions 194] [--learned 650] [--steps 12] [--threads 2]

The model is read from the folder with transformers in 32 bits and steps as `recipes/world-questions.toml` has it: forward,
backward, clipping by the common norm, AdamW. The batch is random, with as many positions and learned positions as
`train` reports; the loss is of the learned positions alone. Prints the seconds of each step after the first two,
their median, and the peak of the memory.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModelForImageTextToText


def peak() -> int:
    """Peak of the memory of this process, in MiB."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--positions", type=int, default=194)
    parser.add_argument("--learned", type=int, default=650)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    model = AutoModelForImageTextToText.from_pretrained(args.model, dtype=torch.float32).train()
    config = model.config
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, foreach=True)
    size = config.vision_config.image_size
    tokens = (size // config.vision_config.patch_size) ** 2
    ids = torch.randint(10, config.text_config.vocab_size, (args.batch, args.positions))
    ids[:, 1 : 1 + tokens] = config.image_token_id
    labels = torch.full_like(ids, -100)
    learned = args.learned // args.batch
    labels[:, -learned:] = ids[:, -learned:]
    pixels = torch.randn(args.batch, 3, size, size)
    rows = labels[:, 1:] != -100

    seconds = []
    for step in range(args.steps):
        begin = time.perf_counter()
        hidden = model.model(input_ids=ids, pixel_values=pixels).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][rows])
        loss = torch.nn.functional.cross_entropy(logits, labels[:, 1:][rows])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step >= 2:
            seconds.append(time.perf_counter() - begin)
            print(f"{seconds[-1]:.3f} s, loss {loss.item():.3f}", flush=True)
    print(f"median {statistics.median(seconds):.3f} s, peak {peak()} MiB, torch {torch.__version__}")


if __name__ == "__main__":
    main()
