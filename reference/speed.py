"""How fast `generate` is beside transformers, on checkpoints of real proportions with random weights.

    python reference/speed.py --models FOLDER --generate target/release/generate [--runs 3] [--dtypes float32,bfloat16]

Writes the checkpoints into FOLDER (2 GB, and 14 GB for `--names llava-1.5-7b`; keep it out of the repository)
unless they are there, then runs both programs in turn, each time as a new process with as many threads, and
prints the median of each figure with its ratio. `--only write` writes the checkpoints alone, `--alone` leaves
transformers out; `--dtypes` may name `int8`, which runs `generate --quantize int8` beside transformers in bfloat16.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

THREADS = 2
NEW_TOKENS = 64
HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent / "vlm/tests/fixtures/images/astronaut.png"
PROMPTS = {
    "smolvlm-256m": "<|im_start|>User:<image>What is in the picture?<end_of_utterance>\nAssistant:",
    "llava-0.3b": "USER: <image>\nWhat is in the picture? ASSISTANT:",
    "llava-1.5-7b": "USER: <image>\nWhat is in the picture? ASSISTANT:",
}
#: Our name of a figure, transformers' runner's name, whether more is better.
FIGURES = [
    ("preprocess_ms", False), ("encode_ms", False), ("time_to_first_token_ms", False),
    ("process_to_first_token_ms", False), ("decode_tokens_per_s", True), ("peak_rss_mib", False),
]


def write_smolvlm(folder: Path) -> None:
    """SmolVLM-256M: a SigLIP tower of 93M parameters and SmolLM2-135M, one tile a picture."""
    import torch
    from idefics3 import CLASSES, IMAGE, make_processor, sizes
    from transformers import AutoConfig

    processor = make_processor("smolvlm", "smolvlm", 64, sizes(512, 512, do_image_splitting=False))
    configuration, model_class, _ = CLASSES["smolvlm"]
    text = AutoConfig.for_model(
        "llama", vocab_size=49280, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5,
        pad_token_id=2, bos_token_id=1, eos_token_id=49279, tie_word_embeddings=False,
    )
    vision = dict(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        image_size=512, patch_size=16,
    )
    image = processor.tokenizer.convert_tokens_to_ids(IMAGE)
    torch.manual_seed(0)
    model = model_class(configuration(
        text_config=text, vision_config=vision, image_token_id=image, scale_factor=4, tie_word_embeddings=False,
    ))
    save(model, processor, folder)


def write_llava(folder: Path, text: dict, in_parts: bool = False) -> None:
    """CLIP-L/14-336 and a Llama; `in_parts` without ever having the whole model in memory."""
    import torch
    from common import name_tokens
    from llava_cases import VOCABULARY
    from tokenizer_kinds import KINDS
    from transformers import AutoConfig, CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration
    from transformers import LlavaProcessor

    vision = AutoConfig.for_model(
        "clip_vision_model", hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
        num_attention_heads=16, image_size=336, patch_size=14, projection_dim=768,
    )
    base = dict(pad_token_id=0, bos_token_id=1, eos_token_id=32063, vocab_size=32064, tie_word_embeddings=False)
    tokenizer = name_tokens(KINDS["byte_fallback"](), "byte_fallback")
    side = {"height": 336, "width": 336}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=side), tokenizer=tokenizer,
        patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        text_config=AutoConfig.for_model("llama", max_position_embeddings=4096, **(base | text)),
        vision_config=vision, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    assert config.image_token_id < VOCABULARY
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta" if in_parts else "cpu"):
        model = LlavaForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    save(model, processor, folder, in_parts)


def save(model, processor, folder: Path, in_parts: bool = False) -> None:
    import torch

    model.generation_config.eos_token_id = model.config.text_config.eos_token_id
    if in_parts:
        save_in_parts(model, folder)
    else:
        model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
    fill(folder / "tokenizer.json", model.config.text_config.vocab_size)


def save_in_parts(model, folder: Path, size: int = 1 << 30) -> None:
    """Writes shards of about `size` bytes for a model without values, each filled when its turn comes."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = torch.bfloat16
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    shards, room = [], 0
    for key, value in model.state_dict().items():
        if value.nbytes > room:
            shards.append([])
            room = size
        shards[-1].append((key, value.shape))
        room -= value.nbytes
    index = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({key: random_values(key, shape) for key, shape in shard}, folder / name)
        index |= {key: name for key, _ in shard}
    total = sum(value.nbytes for value in model.state_dict().values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2)
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def random_values(key: str, shape):
    """A weight as transformers starts it: normal, a norm's factors one, biases zero."""
    import torch

    values = torch.empty(shape, dtype=torch.bfloat16)
    if len(shape) > 1:
        return values.normal_(0.0, 0.02)
    return values.fill_(1.0 if key.endswith("weight") else 0.0)


def fill(path: Path, size: int) -> None:
    """Gives every id of the model a word, so that random answers are text."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    # Added tokens keep their numbers only if the vocabulary has them.
    vocabulary |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    taken = set(vocabulary.values())
    vocabulary |= {f"w{number}": number for number in range(size) if number not in taken}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


WRITERS = {
    "smolvlm-256m": write_smolvlm,
    "llava-0.3b": lambda folder: write_llava(folder, dict(
        hidden_size=1024, intermediate_size=2816, num_hidden_layers=24, num_attention_heads=16,
    )),
    "llava-1.5-7b": lambda folder: write_llava(folder, dict(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
    ), in_parts=True),
}


def peak_rss_mib() -> float:
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run_transformers(folder: Path, dtype: str, prompt: str) -> None:
    """One answer in this process, its figures as JSON."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor, StoppingCriteria

    torch.set_num_threads(THREADS)
    times = []

    class Clock(StoppingCriteria):
        def __call__(self, input_ids, scores, **_):
            times.append(time.perf_counter())
            return torch.zeros(input_ids.shape[0], dtype=torch.bool)

    start = time.perf_counter()
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.eval()
    model.generation_config.eos_token_id = None
    loaded = time.perf_counter()
    inputs = processor(images=[Image.open(PICTURE).convert("RGB")], text=prompt, return_tensors="pt")
    inputs = inputs.to(getattr(torch, dtype))
    begin = time.perf_counter()
    encoded = []
    tower = (model.model.vision_model if hasattr(model.model, "vision_model") else model.model.vision_tower)
    tower.register_forward_hook(lambda *_: encoded.append(time.perf_counter()))
    with torch.no_grad():
        model.generate(
            **inputs, do_sample=False, num_beams=1, max_new_tokens=NEW_TOKENS, stopping_criteria=[Clock()],
        )
    print(json.dumps({
        "load_ms": 1e3 * (loaded - start),
        "preprocess_ms": 1e3 * (begin - loaded),
        "encode_ms": 1e3 * (encoded[0] - begin),
        "time_to_first_token_ms": 1e3 * (times[0] - begin),
        "decode_tokens_per_s": (len(times) - 1) / max(times[-1] - times[0], 1e-9),
        "peak_rss_mib": peak_rss_mib(),
        "since_start": times[0] - start,
    }))


def theirs(folder: Path, dtype: str, prompt: str) -> dict:
    start = time.perf_counter()
    command = [sys.executable, __file__, "--run", str(folder), "--dtypes", dtype, "--prompt", prompt]
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    whole = time.perf_counter() - start
    found = json.loads(done.stdout.splitlines()[-1])
    # The imports stand before the first clock of the process.
    rest = (NEW_TOKENS - 1) / found["decode_tokens_per_s"]
    found["process_to_first_token_ms"] = 1e3 * (whole - rest)
    return found


def ours(program: Path, folder: Path, dtype: str, prompt: str) -> dict:
    kind = {"float32": ["--dtype", "f32"], "bfloat16": ["--dtype", "bf16"]}.get(
        dtype, ["--dtype", "bf16", "--quantize", dtype]
    )
    command = [program, "--model", folder, "--image", PICTURE, "--prompt", prompt, *kind]
    command += ["--max-new-tokens", str(NEW_TOKENS), "--stats", "--format", "json"]
    environment = os.environ | {"RAYON_NUM_THREADS": str(THREADS)}
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
    whole = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    count = len(found["tokens"])
    found = found["stats"]
    rest = (count - 1) / found["decode_tokens_per_s"]
    return found | {"process_to_first_token_ms": 1e3 * (whole - rest)}


def compare(args, name: str, dtype: str) -> None:
    folder, prompt = args.models / name, PROMPTS[name]
    float_dtype = dtype if dtype in ("float32", "bfloat16") else "bfloat16"
    pairs = []
    for _ in range(args.runs):
        mine = ours(args.generate, folder, dtype, prompt)
        pairs.append((mine, None if args.alone else theirs(folder, float_dtype, prompt)))
    print(f"{name}, {dtype}")
    for figure, _ in FIGURES:
        mine = statistics.median(pair[0][figure] for pair in pairs)
        if args.alone:
            print(f"  {figure:<28} {mine:>10.1f}")
            continue
        other = statistics.median(pair[1][figure] for pair in pairs)
        ratio = statistics.median(pair[0][figure] / pair[1][figure] for pair in pairs)
        print(f"  {figure:<28} {mine:>10.1f}  transformers {other:>10.1f}  ratio {ratio:>6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", type=Path, help="where the checkpoints are")
    parser.add_argument("--generate", type=Path, help="the program")
    parser.add_argument("--names", default="smolvlm-256m,llava-0.3b")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without transformers")
    parser.add_argument("--only", choices=["write"])
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prompt", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return run_transformers(args.run, args.dtypes, args.prompt)
    for name in args.names.split(","):
        folder = args.models / name
        if not (folder / "config.json").is_file():
            WRITERS[name](folder)
        for dtype in args.dtypes.split(",") if args.only != "write" else []:
            compare(args, name, dtype)


if __name__ == "__main__":
    main()
