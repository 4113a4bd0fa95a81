//! Penalties that look at the prompt count its pictures as transformers does: each position by its token.

mod common;

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType};
use common::{expected, folder, load, open};
use serde::Deserialize;
use vlm::{Prompt, Request, text::generate};

#[derive(Deserialize)]
struct File {
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    folder: String,
    request: usize,
    repetition_penalty: Option<f32>,
    no_repeat_ngram_size: Option<usize>,
    tokens: Vec<u32>,
}

#[test]
fn answers_are_those_of_the_reference() {
    let text = std::fs::read_to_string(folder("penalties.json")).unwrap();
    let answers = serde_json::from_str::<File>(&text).unwrap().answers;
    let mut by_folder = BTreeMap::<_, Vec<Answer>>::new();
    for answer in answers {
        let folder = answer.folder.clone();
        by_folder.entry(folder).or_default().push(answer);
    }
    assert_eq!(by_folder.len(), 5);
    let device = Device::flex();
    for (case, answers) in by_folder {
        let pretrained = load(&case, &device);
        let requests = expected(&case).0.requests;
        for answer in answers {
            let request = &requests[answer.request];
            let images = open(&case, &request.images);
            let prompt = Prompt::Text(request.prompt.clone());
            let request = pretrained.processor.process(&prompt, &images).unwrap();
            let visual = Request::images(
                std::slice::from_ref(&request),
                &device,
                FloatDType::F32.into(),
            );
            let mut config = pretrained.generation_config(10).unwrap();
            config.sampling.repetition_penalty = answer.repetition_penalty.unwrap_or(1.0);
            config.sampling.no_repeat_ngram_size = answer.no_repeat_ngram_size;
            let prompts = [request.sequence];
            let found = generate(&pretrained.model, &prompts, visual, &config, &device).unwrap();
            assert_eq!(
                found[0].tokens, answer.tokens,
                "{case}, request {}, penalty {:?}, n-grams {:?}",
                answer.request, answer.repetition_penalty, answer.no_repeat_ngram_size
            );
        }
    }
}
