//! Beam search equals transformers: answers and scores, in a batch and alone, on both CPU backends.

mod common;

use burn::tensor::Device;
use common::{config, devices, folder, load};
use serde::Deserialize;
use vlm_core::Sequence;
use vlm_text::{
    BeamConfig, CausalLm, EarlyStopping, EndReason, Generated, GenerationConfig, generate,
};

/// Scores are means of some ten log-probabilities, whose last digits depend on the order of sums.
const SCORE: f32 = 2e-5;

#[derive(Deserialize)]
struct Expected {
    searches: Vec<Search>,
}

#[derive(Deserialize)]
struct Search {
    case: String,
    num_beams: usize,
    num_return_sequences: usize,
    length_penalty: f64,
    early_stopping: serde_json::Value,
    #[serde(default)]
    repetition_penalty: Option<f32>,
    #[serde(default)]
    no_repeat_ngram_size: Option<usize>,
    eos_token_ids: Vec<u32>,
    max_new_tokens: usize,
    prompts: Vec<Vec<u32>>,
    answers: Vec<Vec<u32>>,
    scores: Vec<f32>,
}

impl Search {
    fn config(&self) -> GenerationConfig {
        let mut config = GenerationConfig::new(self.max_new_tokens).with_beams(BeamConfig {
            num_beams: self.num_beams,
            length_penalty: self.length_penalty,
            early_stopping: match self.early_stopping.as_bool() {
                Some(true) => EarlyStopping::AtOnce,
                Some(false) => EarlyStopping::Heuristic,
                None => EarlyStopping::Never,
            },
        });
        config.eos_token_ids = self.eos_token_ids.clone();
        config.num_return_sequences = self.num_return_sequences;
        config.sampling.repetition_penalty = self.repetition_penalty.unwrap_or(1.0);
        config.sampling.no_repeat_ngram_size = self.no_repeat_ngram_size;
        config
    }

    fn compare(&self, answers: &[Generated], first: usize, name: &str) {
        for (index, answer) in answers.iter().enumerate() {
            let name = format!("{name}, answer {}", first + index);
            assert_eq!(answer.tokens, self.answers[first + index], "{name}");
            let (found, expected) = (answer.score.unwrap(), self.scores[first + index]);
            let close = (found - expected).abs() < SCORE * expected.abs().max(1.0);
            assert!(close, "{name}: score {found}, expected {expected}");
            let whole = answer.tokens.len() == self.max_new_tokens;
            assert_eq!(answer.end == EndReason::Length, whole, "{name}");
        }
    }
}

fn run(search: &Search, model: &CausalLm, prompts: &[Vec<u32>], device: &Device) -> Vec<Generated> {
    let prompts: Vec<Sequence> = prompts.iter().map(|ids| Sequence::text(ids)).collect();
    generate(model, &prompts, None, &search.config(), device).unwrap()
}

fn check(case: &str) {
    let file = folder("generation").join("beams.json");
    let expected: Expected = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let of_case = |search: &&Search| search.case == case;
    assert_eq!(expected.searches.iter().filter(of_case).count(), 7);
    for device in devices() {
        let model = load(case, &config(case, "config.json"), &device);
        for (number, search) in expected.searches.iter().filter(of_case).enumerate() {
            let name = format!("{case}, search {number} on {device:?}");
            let together = run(search, &model, &search.prompts, &device);
            assert_eq!(together.len(), search.answers.len(), "{name}");
            search.compare(&together, 0, &name);
            let last = search.prompts.len() - 1;
            let alone = run(search, &model, &search.prompts[last..], &device);
            search.compare(&alone, last * search.num_return_sequences, &name);
        }
    }
}

#[test]
fn llama() {
    check("llama");
}

#[test]
fn mistral() {
    check("mistral");
}

#[test]
fn qwen2() {
    check("qwen2");
}
