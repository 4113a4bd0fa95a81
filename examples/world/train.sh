#!/usr/bin/env bash
# Trains the model of the picture world from nothing, in two stages: where what is, then questions. A run that was
# killed goes on where it was. Usage: examples/world/train.sh [FOLDER [STEPS OF STAGE 1 [STEPS OF STAGE 2]]]
set -euo pipefail
cd "$(dirname "$0")/../.."

work="${1:-target/world}"
maps="${2:-800}"
questions="${3:-3500}"
batch=32
cargo build --release --workspace --bins
bin="${CARGO_TARGET_DIR:-target}/release"

data() { # folder, lesson, seed, steps: a picture for each row of each step, none seen twice
  [ -f "$1/complete" ] && return
  "$bin/world" data --output "$1" --lesson "$2" --seed "$3" --count "$(($4 * batch))"
  touch "$1/complete"
}
stage() { # recipe, model, data, output, steps
  "$bin/train" --recipe "recipes/$1.toml" --model "$2" --data "$3/data.jsonl" --output "$4" --steps "$5" --resume
}

[ -f "$work/fresh/model.safetensors" ] || "$bin/world" model --output "$work/fresh"
data "$work/maps" maps 11 "$maps"
stage world-maps "$work/fresh" "$work/maps" "$work/stage1" "$maps"
data "$work/questions" questions 12 "$questions"
stage world-questions "$work/stage1" "$work/questions" "$work/stage2" "$questions"
"$bin/convert" --model "$work/stage2" --output "$work/model" --dtype f16
"$bin/world" score --model "$work/model" --output "$work/answers"
