//! Each logits processor, and a chain of them, equals transformers' on random logits.

mod common;

use std::{collections::BTreeMap, sync::Arc};

use common::folder;
use serde::Deserialize;
use vlm_text::{
    History, LogitsProcessor, MinP, NoRepeatNGram, RepetitionPenalty, SamplingConfig, SequenceBias,
    Temperature, TopK, TopP,
};

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    history: Vec<u32>,
    logits: Vec<f32>,
    processed: BTreeMap<String, Vec<Option<f32>>>,
}

fn biases() -> Vec<(Vec<u32>, f32)> {
    vec![(vec![3], 2.5), (vec![7, 9], -4.0), (vec![11, 12, 5], 6.0)]
}

fn named(name: &str) -> Vec<Arc<dyn LogitsProcessor>> {
    vec![match name {
        "sequence_bias" => Arc::new(SequenceBias::new(biases())),
        // The end-of-sequence token among the bad words is passed over.
        "bad_words_ids" => Arc::new(SequenceBias::forbid([vec![7, 2]])),
        "repetition_penalty" => Arc::new(RepetitionPenalty(1.7)),
        "no_repeat_ngram_size_1" => Arc::new(NoRepeatNGram(1)),
        "no_repeat_ngram_size_3" => Arc::new(NoRepeatNGram(3)),
        "temperature" => Arc::new(Temperature(0.35)),
        "top_k" => Arc::new(TopK(5)),
        "top_k_all" => Arc::new(TopK(100)),
        "top_p" => Arc::new(TopP(0.8)),
        "top_p_small" => Arc::new(TopP(0.01)),
        "min_p" => Arc::new(MinP(0.15)),
        "chain" => {
            let sampling = SamplingConfig {
                sequence_bias: biases(),
                repetition_penalty: 1.7,
                no_repeat_ngram_size: Some(3),
                temperature: 0.35,
                top_k: Some(5),
                top_p: 0.8,
                min_p: 0.15,
                ..SamplingConfig::greedy()
            };
            return sampling.processors();
        }
        other => panic!("no processor for {other}"),
    }]
}

#[test]
fn each_equals_the_reference() {
    let file = std::fs::read_to_string(folder("generation").join("processors.json")).unwrap();
    let expected: Expected = serde_json::from_str(&file).unwrap();
    assert_eq!(expected.cases.len(), 4);
    for case in &expected.cases {
        assert_eq!(case.processed.len(), 12);
        for (name, processed) in &case.processed {
            let mut scores = case.logits.clone();
            for processor in named(name) {
                let history = History {
                    ids: &case.history,
                    prompt: 1,
                };
                processor.process(&mut scores, history);
            }
            for (token, (found, expected)) in scores.iter().zip(processed).enumerate() {
                let expected = expected.unwrap_or(f32::NEG_INFINITY);
                // A forbidden token's difference from any number is infinite, and so is its tolerance.
                let close =
                    expected.is_finite() && (found - expected).abs() <= 1e-6 * expected.abs();
                assert!(
                    found == &expected || close,
                    "{name} after {:?}, token {token}: {found}, expected {expected}",
                    case.history
                );
            }
        }
    }
}

#[test]
fn steps_have_the_order_of_the_reference() {
    let mut sampling = SamplingConfig {
        sequence_bias: biases(),
        repetition_penalty: 1.7,
        presence_penalty: 0.5,
        no_repeat_ngram_size: Some(3),
        temperature: 0.35,
        top_k: Some(5),
        top_p: 0.8,
        min_p: 0.15,
        ..SamplingConfig::greedy()
    };
    let own = vlm_text::MinNewTokens {
        tokens: 2,
        eos_token_ids: vec![2],
    };
    sampling.further.push(Arc::new(own));
    let names = |sampling: &SamplingConfig| -> Vec<String> {
        let name = |step: &Arc<dyn LogitsProcessor>| {
            let text = format!("{step:?}");
            text.split(['(', ' ']).next().unwrap().to_owned()
        };
        sampling.processors().iter().map(name).collect()
    };
    let of_both = [
        "SequenceBias",
        "RepetitionPenalty",
        "CountPenalty",
        "NoRepeatNGram",
        "MinNewTokens",
    ];
    let of_sampling = ["Temperature", "TopK", "TopP", "MinP"];
    assert_eq!(names(&sampling), [&of_both[..], &of_sampling[..]].concat());
    sampling.temperature = 0.0;
    assert_eq!(names(&sampling), of_both);
}

#[test]
fn lengths_and_counts_are_those_of_what_was_generated() {
    let process = |processor: &dyn LogitsProcessor, ids: &[u32]| {
        let mut scores = [1.0; 4];
        processor.process(&mut scores, History { ids, prompt: 2 });
        scores
    };
    let longer = vlm_text::MinNewTokens {
        tokens: 2,
        eos_token_ids: vec![3, 99],
    };
    let forbidden = [1.0, 1.0, 1.0, f32::NEG_INFINITY];
    assert_eq!(process(&longer, &[0, 1]), forbidden);
    assert_eq!(process(&longer, &[0, 1, 2]), forbidden);
    assert_eq!(process(&longer, &[0, 1, 2, 2]), [1.0; 4]);
    let penalty = vlm_text::CountPenalty {
        presence: 0.5,
        frequency: 2.0,
    };
    let ids = [0, 1, 2, 2, 3, 99];
    assert_eq!(process(&penalty, &ids), [1.0, 1.0, -3.5, -1.5]);
}
