//! Text that streams is certain: whole characters, no part of a stop string, and together the answer.

mod common;

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use burn::tensor::Device;
use common::{config, folder, load, script::Script};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use vlm_core::Sequence;
use vlm_text::{
    Answer, BeamConfig, EndReason, GenerationConfig, TextDecoding, Tokenizer, generate_text,
    prefill,
};

const KINDS: [&str; 3] = ["byte_level", "byte_fallback", "byte_fallback_prepend"];
const PROMPT: [u32; 3] = [5, 6, 7];

fn tokenizer(kind: &str) -> Tokenizer {
    let file = folder("tokenizers").join(format!("{kind}.json"));
    Tokenizer::new(tokenizers::Tokenizer::from_file(file).unwrap())
}

/// What comes out piece by piece, and the answer, of a model that writes `tokens`.
fn stream(
    tokenizer: &Tokenizer,
    tokens: &[u32],
    config: &GenerationConfig,
) -> (Vec<String>, Answer) {
    let device = Device::flex();
    let model = Script::new(tokens, tokenizer.vocab_size(), PROMPT.len(), &device);
    let prompts = [Sequence::text(&PROMPT)];
    let prefilled = prefill(&model, &prompts, None, config, &device).unwrap();
    let mut decoding = TextDecoding::new(&model, tokenizer, prefilled, config).unwrap();
    let pieces = decoding.by_ref().map(|piece| piece.unwrap().text).collect();
    (pieces, decoding.finish().0.remove(0))
}

#[test]
fn pieces_are_whole_and_make_the_answer() {
    let texts = [
        "Zwölf Boxkämpfer jagen Viktor — 漢字 and 🙂👩‍🚀 emoji!",
        "The answer is: a red cup.\n\nUSER: next",
        "ééé\u{301}é 🙂🙂",
    ];
    let mut random = StdRng::seed_from_u64(11);
    for kind in KINDS {
        let tokenizer = tokenizer(kind);
        for text in texts {
            let ids = tokenizer.encode(text, false).unwrap();
            let whole = tokenizer.decode(&ids);
            for _ in 0..40 {
                // A stop string anywhere in the text, so mostly across tokens; or none.
                let letters: Vec<char> = whole.chars().collect();
                let from = random.random_range(0..letters.len());
                let to = (from + random.random_range(0..6)).min(letters.len());
                let stop: String = letters[from..to].iter().collect();
                let mut config = GenerationConfig::new(ids.len());
                if !stop.is_empty() {
                    config = config.with_stop_strings([stop.clone()]);
                }
                let (pieces, answer) = stream(&tokenizer, &ids, &config);
                let name = format!("{kind}, {text:?} until {stop:?}");
                assert_eq!(pieces.concat(), answer.text, "{name}");
                assert!(
                    pieces.iter().all(|piece| !piece.contains('\u{fffd}')),
                    "{name}"
                );
                let expected = match stop.is_empty() {
                    true => &whole[..],
                    false => whole.split(&stop).next().unwrap(),
                };
                assert_eq!(answer.text, expected, "{name}");
                let end = match stop.is_empty() {
                    true => EndReason::Length,
                    false => EndReason::StopString,
                };
                assert_eq!(answer.generated.end, end, "{name}");
                // No token is written after the one that makes the stop string whole.
                if !stop.is_empty() {
                    let (_, before) = answer.generated.tokens.split_last().unwrap();
                    let before = tokenizer.decode(before);
                    assert!(
                        before.contains('\u{fffd}') || !before.contains(&stop),
                        "{name}"
                    );
                }
            }
        }
    }
}

#[test]
fn any_tokens_stream_to_their_text() {
    let mut random = StdRng::seed_from_u64(12);
    for kind in KINDS {
        let tokenizer = tokenizer(kind);
        let vocab = tokenizer.vocab_size() as u32;
        for _ in 0..200 {
            let count = random.random_range(1..12);
            let ids: Vec<u32> = (0..count).map(|_| random.random_range(0..vocab)).collect();
            let (pieces, answer) = stream(&tokenizer, &ids, &GenerationConfig::new(count));
            assert_eq!(answer.generated.tokens, ids, "{kind}");
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            if !answer.text.contains('\u{fffd}') {
                assert_eq!(pieces.concat(), answer.text, "{kind}: {ids:?}");
            }
        }
    }
}

#[test]
fn a_row_ends_for_a_reason() {
    let tokenizer = tokenizer("byte_level");
    let ids = tokenizer
        .encode("one two three four five six", false)
        .unwrap();
    let mut config = GenerationConfig::new(ids.len() - 1);
    let end = |config: &GenerationConfig| {
        let generated = stream(&tokenizer, &ids, config).1.generated;
        (generated.end, generated.tokens.len())
    };
    assert_eq!(end(&config), (EndReason::Length, ids.len() - 1));
    config.eos_token_ids = vec![ids[4]];
    let first = ids.iter().position(|id| *id == ids[4]).unwrap();
    assert_eq!(end(&config), (EndReason::EndOfSequence, first));
    config.max_time = Some(Duration::ZERO);
    assert_eq!(end(&config), (EndReason::Time, 1));
    let cancel = Arc::new(AtomicBool::new(true));
    config.cancel = Some(cancel.clone());
    assert_eq!(end(&config), (EndReason::Stopped, 1));
    // Beams end for the same reasons.
    let device = Device::flex();
    let model = Script::new(&ids, tokenizer.vocab_size(), PROMPT.len(), &device);
    let mut config = GenerationConfig::new(ids.len())
        .with_stop_strings(["ee fo"])
        .with_beams(BeamConfig::new(2));
    config.beams.length_penalty = 0.0;
    let search = |config: &GenerationConfig| {
        let prompts = [Sequence::text(&PROMPT)];
        let prefilled = prefill(&model, &prompts, None, config, &device).unwrap();
        let shown = |_: usize, _: &str| ControlFlow::Continue(());
        let answers = generate_text(&model, &tokenizer, prefilled, config, shown);
        answers.unwrap().remove(0)
    };
    let answer = search(&config);
    assert_eq!(answer.text, "one two thr");
    assert_eq!(answer.generated.end, EndReason::StopString);
    config.cancel = Some(cancel);
    let generated = search(&config).generated;
    assert_eq!(
        (generated.end, generated.tokens.len()),
        (EndReason::Stopped, 1)
    );
}

#[derive(Deserialize)]
struct Stops {
    answers: Vec<Stop>,
}

#[derive(Deserialize)]
struct Stop {
    case: String,
    stop: String,
    prompt: Vec<u32>,
    limit: usize,
    tokens: Vec<u32>,
}

#[test]
fn stop_strings_end_answers_after_the_tokens_of_the_reference() {
    let file = std::fs::read_to_string(folder("generation").join("stops.json")).unwrap();
    let stops = serde_json::from_str::<Stops>(&file).unwrap().answers;
    let device = Device::flex();
    for case in ["llama", "mistral", "qwen2"] {
        let tokenizer = Tokenizer::from_folder(folder(case)).unwrap();
        let model = load(case, &config(case, "config.json"), &device);
        for stop in stops.iter().filter(|stop| stop.case == case) {
            let generation = GenerationConfig::new(stop.limit)
                .with_stop_strings(["not there", stop.stop.as_str()]);
            let prompts = [Sequence::text(&stop.prompt)];
            let prefilled = prefill(&model, &prompts, None, &generation, &device).unwrap();
            let mut shown = String::new();
            let answers = generate_text(&model, &tokenizer, prefilled, &generation, |_, text| {
                shown += text;
                ControlFlow::Continue(())
            });
            let answer = answers.unwrap().remove(0);
            let name = format!("{case} until {:?}", stop.stop);
            assert_eq!(answer.generated.tokens, stop.tokens, "{name}");
            // Bytes that make no character may undo the one before, which is out already.
            if !answer.text.contains('\u{fffd}') {
                assert_eq!(shown, answer.text, "{name}");
            }
            let whole = tokenizer.decode(&stop.tokens);
            let ended = whole.find(&stop.stop);
            assert_eq!(answer.text, whole[..ended.unwrap_or(whole.len())], "{name}");
            let stopped = answer.generated.end == EndReason::StopString;
            assert_eq!(stopped, ended.is_some(), "{name}");
        }
    }
}

#[test]
fn rows_are_cancelled_one_by_one() {
    let device = Device::flex();
    let tokenizer = Tokenizer::from_folder(folder("llama")).unwrap();
    let model = load("llama", &config("llama", "config.json"), &device);
    let generation = GenerationConfig::new(12);
    let prompts = [Sequence::text(&[5, 6, 7]), Sequence::text(&[9, 30])];
    let run = |cancel: Option<usize>| {
        let prefilled = prefill(&model, &prompts, None, &generation, &device).unwrap();
        let mut texts = [String::new(), String::new()];
        let answers = generate_text(&model, &tokenizer, prefilled, &generation, |row, text| {
            texts[row] += text;
            match Some(row) == cancel {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        (answers.unwrap(), texts)
    };
    let (whole, texts) = run(None);
    assert_eq!(whole[0].generated.end, EndReason::Length);
    assert!(!texts[1].is_empty());
    let (cut, _) = run(Some(0));
    assert_eq!(cut[0].generated.end, EndReason::Stopped);
    let count = cut[0].generated.tokens.len();
    assert!(count < 12);
    assert_eq!(cut[0].generated.tokens, whole[0].generated.tokens[..count]);
    assert_eq!(cut[1], whole[1]);
}
