//! SmolLM2-135M's real weights, as `reference/smollm2.py` converts them, generate what transformers
//! generates, token for token. Needs that folder: see CONTRIBUTING.md.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use serde::Deserialize;
use vlm_core::{
    ConfigReader, Sequence,
    checkpoint::{Checkpoint, Loader},
};
use vlm_text::{GenerationConfig, Tokenizer, decoder_from_hf, generate, llama};

#[derive(Deserialize)]
struct Expected {
    max_new_tokens: usize,
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    prompt: String,
    prompt_tokens: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
}

#[test]
#[ignore = "needs the converted weights in the folder that SMOLLM2 names"]
fn equals_transformers_token_for_token() {
    let folder = PathBuf::from(std::env::var("SMOLLM2").expect("SMOLLM2 names the folder"));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smollm2.json");
    let expected: Expected =
        serde_json::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    let device = Device::flex();
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let reader = ConfigReader::new(serde_json::from_str(&config).unwrap()).unwrap();
    let (_, config) = decoder_from_hf(reader).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let model = Loader::new(&checkpoint, &llama::keys(&config), FloatDType::F32)
        .load(config.init(&device))
        .unwrap();
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    let config = GenerationConfig::new(expected.max_new_tokens)
        .with_ids_from(&folder)
        .unwrap();
    for request in expected.requests {
        let ids = tokenizer.encode(&request.prompt, false).unwrap();
        assert_eq!(ids, request.prompt_tokens, "{}", request.prompt);
        let answer = generate(&model, &[Sequence::text(&ids)], None, &config, &device).unwrap();
        assert_eq!(answer[0].tokens, request.tokens, "{}", request.prompt);
        assert_eq!(tokenizer.decode(&answer[0].tokens), request.text);
    }
}
