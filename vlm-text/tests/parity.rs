//! Each decoder equals transformers on tiny checkpoints: logits and greedy tokens, on both CPU backends.

mod common;

use burn::tensor::{FloatDType, s};
use common::{LOGITS_F32, config, devices, expected, folder, load, relative_error};
use vlm_core::{Sequence, VisionLanguageModel};
use vlm_text::{GenerationConfig, Tokenizer, generate, prefill};

fn check(case: &str) {
    let (expected, tensors) = expected(case);
    let tokenizer = Tokenizer::from_folder(folder(case)).unwrap();
    for device in devices() {
        for variant in &expected.variants {
            let name = format!("{case} {} on {device:?}", variant.name);
            let model = load(case, &config(case, &variant.config), &device);
            let ids = GenerationConfig::new(24)
                .with_ids_from(folder(case))
                .unwrap();
            let prompts: Vec<Sequence> = variant
                .requests
                .iter()
                .map(|request| Sequence::text(&request.prompt_tokens))
                .collect();
            for (index, request) in variant.requests.iter().enumerate() {
                let encoded = tokenizer.encode(&request.prompt, true).unwrap();
                assert_eq!(
                    encoded, request.prompt_tokens,
                    "{name}: tokens of request {index}"
                );
                let prompt = &prompts[index..=index];
                let prefilled = prefill(&model, prompt, None, &ids, &device).unwrap();
                let [_, seq, _] = prefilled.hidden.dims();
                let last = prefilled
                    .hidden
                    .slice(s![.., seq - expected.positions.., ..]);
                let logits = VisionLanguageModel::logits(&model, last).squeeze_dim(0);
                let key = format!("{}.request_{index}.logits", variant.name);
                let reference = tensors.read(&key, FloatDType::F32).unwrap();
                let error = relative_error(logits, reference);
                assert!(
                    error < LOGITS_F32,
                    "{name}: logits of request {index} are {error:e} off"
                );
                let answer = generate(&model, prompt, None, &ids, &device).unwrap();
                assert_eq!(answer[0].tokens, request.tokens, "{name}: answer {index}");
                assert_eq!(
                    tokenizer.decode(&answer[0].tokens),
                    request.text,
                    "{name}: text {index}"
                );
            }
            if let Some(batch) = &variant.batch {
                assert_eq!(batch.attention_mask.len(), prompts.len());
                let answers = generate(&model, &prompts, None, &ids, &device).unwrap();
                for (answer, request) in answers.iter().zip(&variant.requests) {
                    assert_eq!(answer.tokens, request.tokens, "{name}: in a batch");
                }
            }
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

#[test]
fn persimmon() {
    check("persimmon");
}
