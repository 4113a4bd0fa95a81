#!/usr/bin/env bash
# Trains the model of the picture world from nothing, stage by stage (docs/world.md says why these). A run that was
# killed goes on where it was. Usage: examples/world/train.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/../.."

work="${1:-target/world}"
cargo build --release --workspace --bins
bin="${CARGO_TARGET_DIR:-target}/release"

# A stage begins with the weights of the one before it. Its arguments: name, pictures, their seed, what is drawn and
# asked (flags of `world data`), steps, recipe and rate (flags of `train`).
before=fresh
stage() {
  local name="$1" pictures="$2" seed="$3" lesson="$4" steps="$5" rate="$6"
  local data="$work/$name-data" output="$work/$name"
  # Both are flags, so they are split at spaces.
  if [ ! -f "$data/complete" ]; then
    # shellcheck disable=SC2086
    "$bin/world" data --output "$data" --lesson $lesson --count "$pictures" --seed "$seed"
    touch "$data/complete"
  fi
  # shellcheck disable=SC2086
  "$bin/train" --recipe recipes/world-$rate --steps "$steps" --model "$work/$before" \
    --data "$data/data.jsonl" --output "$output" --resume
  before="$name"
}

[ -f "$work/fresh/model.safetensors" ] || "$bin/world" model --output "$work/fresh"

# What things look like.
stage plain 20000 21 "plain --rows 2" 800 "sheets.toml --learning-rate 1e-3"
stage small 28800 22 "sheets --rows 2" 900 sheets.toml
stage large 16000 31 "sheets --rows 4" 400 sheets.toml
stage scenes 128000 12 "questions --rows 5" 3000 questions.toml

# To find a thing by its name, then by its colour.
steady="questions.toml --schedule constant"
shapes="--only-shapes --rows 2"
stage pairs 12800 41 "pairs $shapes" 400 "$steady"
stage by-name 19200 42 "pairs $shapes --kinds colour" 600 "$steady"
stage by-colour 44800 61 "pairs $shapes --kinds shape" 1400 "$steady"
stage by-colour-more 19200 63 "pairs $shapes --kinds shape" 600 "$steady"
stage by-both 12800 62 "pairs $shapes" 400 "$steady"
stage two-of-them 19200 72 "finding $shapes --kinds relation,size,yes-no,shape" 600 "$steady"
stage finding 44800 51 "finding --rows 3" 1400 "$steady"
stage a-look-at-all 12800 82 "questions --rows 3" 400 "$steady"
stage by-name-again 16000 91 "pairs $shapes --kinds colour,position,texture" 500 "$steady"
stage shapes 16000 92 "finding $shapes" 500 "$steady"
stage another-look 32000 83 "questions --rows 3" 1000 "$steady"
stage where 28800 93 "finding $shapes --kinds box,position" 900 "$steady"
stage where-more 19200 94 "finding $shapes --kinds box,position" 600 "$steady"

# Everything, and between what is learned late.
stage questions-first 64000 81 "questions --rows 3" 2000 "$steady"
stage words 30400 95 "questions --kinds word" 950 "$steady"
stage questions-second 76800 84 "questions --rows 3" 2400 "$steady"
stage count 12800 98 "finding --only-shapes --rows 3 --kinds count" 400 "$steady"
stage words-again 16000 96 "questions --kinds word" 500 "$steady"
often="--scenes 38,40,10"
stage questions-third 76800 85 "questions --rows 3 $often" 1900 "$steady --learning-rate 6e-4"
stage colours 19200 97 "finding --only-shapes --rows 3 --kinds colour" 600 "$steady --learning-rate 6e-4"
stage questions 128000 86 "questions --rows 3 $often" 3025 "questions.toml --learning-rate 6e-4"
"$bin/convert" --model "$work/questions" --output "$work/model" --dtype f16
"$bin/world" score --model "$work/model" --output "$work/answers"
