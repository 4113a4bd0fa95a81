#!/usr/bin/env bash
# Trains the model of the picture world from nothing: pictures, a fresh model, training, a score.
# A run that was killed goes on where it was. Usage: examples/world/train.sh [FOLDER [PICTURES [STEPS]]]
set -euo pipefail
cd "$(dirname "$0")/../.."

work="${1:-target/world}"
pictures="${2:-60000}"
steps="${3:-3000}"
cargo build --release --workspace --bins
bin="${CARGO_TARGET_DIR:-target}/release"

[ -f "$work/fresh/model.safetensors" ] || "$bin/world" model --output "$work/fresh"
if [ ! -f "$work/data/complete" ]; then
  "$bin/world" data --output "$work/data" --count "$pictures"
  touch "$work/data/complete"
fi
"$bin/train" --recipe recipes/world.toml --model "$work/fresh" --data "$work/data/data.jsonl" \
  --output "$work/trained" --steps "$steps" --resume
"$bin/convert" --model "$work/trained" --output "$work/model" --dtype f16
"$bin/world" score --model "$work/model" --output "$work/answers"
