#!/usr/bin/env bash
# Trains the model of the picture world from nothing, in four stages (docs/world.md says why these). A run that was
# killed goes on where it was. Usage: examples/world/train.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/../.."

work="${1:-target/world}"
cargo build --release --workspace --bins
bin="${CARGO_TARGET_DIR:-target}/release"

# name, lesson, rows of a sheet at most, pictures, seed, recipe, learning rate, steps, the model that it begins from
stage() {
  local data="$work/$1-data" output="$work/$1"
  if [ ! -f "$data/complete" ]; then
    "$bin/world" data --output "$data" --lesson "$2" --rows "$3" --count "$4" --seed "$5"
    touch "$data/complete"
  fi
  "$bin/train" --recipe "recipes/world-$6.toml" --learning-rate "$7" --steps "$8" --model "$9" \
    --data "$data/data.jsonl" --output "$output" --resume
}

[ -f "$work/fresh/model.safetensors" ] || "$bin/world" model --output "$work/fresh"
stage plain     plain     2  20000 21 sheets    1e-3  800 "$work/fresh"
stage small     sheets    2  28800 22 sheets    7e-4  900 "$work/plain"
stage large     sheets    4  16000 31 sheets    7e-4  400 "$work/small"
stage questions questions 5 128000 12 questions 7e-4 3000 "$work/large"
"$bin/convert" --model "$work/questions" --output "$work/model" --dtype f16
"$bin/world" score --model "$work/model" --output "$work/answers"
