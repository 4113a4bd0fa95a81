//! Rules of generation that need a model: sampling, several answers, log-probabilities, choices, defaults.

mod common;

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use common::{config, devices, folder, load};
use serde_json::{Value, json};
use vlm_core::{Sequence, VisionLanguageModel, VlmInput};
use vlm_text::{
    BeamConfig, CausalLm, CheckpointDefaults, Choices, GenerationConfig, SamplingConfig, generate,
};

const CASE: &str = "llama";

fn model(device: &Device) -> CausalLm {
    load(CASE, &config(CASE, "config.json"), device)
}

fn prompts() -> [Sequence; 2] {
    [Sequence::text(&[1, 40, 60, 33]), Sequence::text(&[1, 99])]
}

fn sampled(seed: u64) -> GenerationConfig {
    GenerationConfig::new(10).with_sampling(SamplingConfig {
        temperature: 1.5,
        top_k: Some(40),
        seed,
        ..SamplingConfig::greedy()
    })
}

#[test]
fn samples_are_equal_on_every_device_and_differ_by_their_seed() {
    let mut answers = Vec::new();
    for device in devices() {
        let model = model(&device);
        let mut config = sampled(3);
        config.num_return_sequences = 3;
        let together = generate(&model, &prompts(), None, &config, &device).unwrap();
        assert_eq!(together.len(), 6);
        assert_ne!(together[0], together[1]);
        // A row draws what it draws alone, and the first answer is that of a single one.
        let alone = generate(&model, &prompts()[1..], None, &config, &device).unwrap();
        assert_eq!(together[3..], alone);
        let single = generate(&model, &prompts()[..1], None, &sampled(3), &device).unwrap();
        assert_eq!(together[0], single[0]);
        let other = generate(&model, &prompts()[..1], None, &sampled(4), &device).unwrap();
        assert_ne!(other, single);
        answers.push(together);
    }
    assert!(answers.iter().all(|other| *other == answers[0]));
}

#[test]
fn log_probabilities_are_the_models() {
    let device = Device::flex();
    let model = model(&device);
    for beams in [1, 3] {
        let mut config = GenerationConfig::new(6).with_beams(BeamConfig::new(beams));
        config.sampling.repetition_penalty = 1.3;
        config.log_probs = true;
        let prompt = &prompts()[0];
        let answers = generate(&model, std::slice::from_ref(prompt), None, &config, &device);
        let answer = answers.unwrap().remove(0);
        let found = answer.log_probs.unwrap();
        assert_eq!(found.len(), 6);
        // All at once, without a cache.
        let ids = [prompt.ids(), answer.tokens.clone()].concat();
        let input = VlmInput::left_padded(&[Sequence::text(&ids)], None, &device);
        let hidden = VisionLanguageModel::forward(&model, input, None);
        let logits: Tensor<3> = VisionLanguageModel::logits(&model, hidden);
        let all = burn::tensor::activation::log_softmax(logits, 2);
        let [_, _, vocab] = all.dims();
        let all: Vec<f32> = all.into_data().try_into_vec().unwrap();
        for (step, (token, found)) in answer.tokens.iter().zip(found).enumerate() {
            let expected = all[(prompt.len() - 1 + step) * vocab + *token as usize];
            assert!(
                (found - expected).abs() < 1e-4,
                "{beams} beams, step {step}: {found} {expected}"
            );
        }
    }
}

#[test]
fn an_answer_is_one_of_the_choices() {
    let device = Device::flex();
    let model = model(&device);
    let choices = [vec![50, 51], vec![50, 60, 70], vec![80]];
    let config = |beams: usize, sampling: SamplingConfig| {
        let mut config = GenerationConfig::new(10)
            .with_sampling(sampling)
            .with_beams(BeamConfig::new(beams));
        config.eos_token_ids = vec![2];
        let limit = Choices::new(&choices, &config.eos_token_ids).unwrap();
        config.sampling.further.push(Arc::new(limit));
        config
    };
    for beams in [1, 2] {
        let config = config(beams, SamplingConfig::greedy());
        for answer in generate(&model, &prompts(), None, &config, &device).unwrap() {
            assert!(choices.contains(&answer.tokens), "{answer:?}");
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let sampling = SamplingConfig {
            temperature: 20.0,
            ..sampled(seed).sampling
        };
        let answers = generate(&model, &prompts()[..1], None, &config(1, sampling), &device);
        seen.insert(answers.unwrap().remove(0).tokens);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), choices);
    // A search finds all that there is, and says so when it is not enough.
    let mut all = config(4, SamplingConfig::greedy());
    all.num_return_sequences = 3;
    let answers = generate(&model, &prompts()[..1], None, &all, &device).unwrap();
    let mut found: Vec<_> = answers.into_iter().map(|answer| answer.tokens).collect();
    found.sort();
    assert_eq!(found, choices);
    all.num_return_sequences = 4;
    let error = generate(&model, &prompts()[..1], None, &all, &device).unwrap_err();
    assert!(error.to_string().ends_with("the search found 3"), "{error}");
}

fn defaults(keys: Value) -> CheckpointDefaults {
    CheckpointDefaults::new(keys.as_object().unwrap().clone())
}

#[test]
fn defaults_are_honoured_or_refused_by_name() {
    let plain = CheckpointDefaults::from_folder(folder(CASE)).unwrap();
    assert!(plain.acting().is_empty());
    // Numbers that do nothing, and what has no effect without sampling.
    let keys = json!({
        "temperature": 0.1, "repetition_penalty": 1.0, "num_beams": 1, "typical_p": 1.0,
        "min_length": 0, "length_penalty": 2.0, "max_length": 4096, "pad_token_id": 3,
    });
    assert!(defaults(keys).acting().is_empty());
    let all = json!({
        "do_sample": true, "temperature": 0.6, "top_k": 0, "top_p": 0.9, "min_p": 0.05,
        "repetition_penalty": 1.05, "no_repeat_ngram_size": 3, "sequence_bias": [[[4, 5], -2.5]],
        "bad_words_ids": [[2], [7, 8]], "suppress_tokens": [9], "min_new_tokens": 2, "num_beams": 4,
        "length_penalty": 0.5, "early_stopping": "never", "num_return_sequences": 2, "max_time": 1.5,
        "stop_strings": "END",
    });
    assert_eq!(defaults(all.clone()).acting().len(), 17);
    let mut config = GenerationConfig::new(5);
    config.eos_token_ids = vec![2];
    let own = vlm_text::NoRepeatNGram(7);
    config.sampling.further.push(Arc::new(own));
    let config = defaults(all).apply(config).unwrap();
    let sampling = &config.sampling;
    assert_eq!((sampling.temperature, sampling.top_k), (0.6, None));
    assert_eq!((sampling.top_p, sampling.min_p), (0.9, 0.05));
    assert_eq!(
        (sampling.repetition_penalty, sampling.no_repeat_ngram_size),
        (1.05, Some(3))
    );
    assert_eq!(sampling.sequence_bias, [(vec![4, 5], -2.5)]);
    // The caller's own come last.
    assert_eq!(sampling.further.len(), 4);
    assert_eq!(format!("{:?}", sampling.further[3]), "NoRepeatNGram(7)");
    let first = format!("{:?}", sampling.further[0]);
    assert_eq!(first, "SequenceBias { biases: [([7, 8], -inf)] }");
    assert_eq!(format!("{:?}", config.beams.early_stopping), "Never");
    assert_eq!(
        (config.beams.num_beams, config.num_return_sequences),
        (4, 2)
    );
    assert_eq!(config.max_time.unwrap().as_millis(), 1500);
    assert_eq!(config.stop_strings, ["END"]);

    for (keys, message) in [
        (
            json!({ "typical_p": 0.5 }),
            "key `typical_p`: expected nothing, which is all that is supported, found 0.5",
        ),
        (
            json!({ "do_sample": "yes" }),
            "key `do_sample`: expected true or false, found \"yes\"",
        ),
        (
            json!({ "do_sample": true, "temperature": 0 }),
            "key `temperature`: expected a number above 0, found 0",
        ),
        (
            json!({ "num_beams": -1 }),
            "key `num_beams`: expected a count, found -1",
        ),
        (
            json!({ "early_stopping": "soon" }),
            "key `early_stopping`: expected true, false or \"never\", found \"soon\"",
        ),
    ] {
        let error = defaults(keys).apply(GenerationConfig::new(1)).unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
    }
}

#[test]
fn contradictions_are_named() {
    let device = Device::flex();
    let model = model(&device);
    let error = |change: &dyn Fn(&mut GenerationConfig)| {
        let mut config = GenerationConfig::new(2);
        change(&mut config);
        let error = generate(&model, &prompts(), None, &config, &device).unwrap_err();
        error.to_string()
    };
    assert!(error(&|c| c.num_return_sequences = 2).contains("greedy decoding has one answer"));
    assert!(error(&|c| c.beams.num_beams = 0).contains("num_beams: expected 1 or more"));
    assert!(
        error(&|c| {
            c.beams.num_beams = 2;
            c.num_return_sequences = 3;
        })
        .contains("expected num_beams 2 at most, found 3")
    );
    assert!(
        error(&|c| {
            c.beams.num_beams = 2;
            c.sampling.temperature = 1.0;
        })
        .contains("sampling and beam search exclude each other")
    );
    assert!(error(&|c| c.stop_strings = vec!["x".into()]).contains("a tokenizer is needed"));
    let none = generate(&model, &[], None, &GenerationConfig::new(2), &device).unwrap_err();
    assert_eq!(none.to_string(), "a prompt has no token");
}
