//! SmolLM2-135M's real weights, as `reference/smollm2.py` converts them, generate what transformers
//! generates, token for token. Needs that folder: see CONTRIBUTING.md.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use serde::Deserialize;
use vlm_core::{
    ConfigReader, Sequence, VisionLanguageModel, VlmInput,
    checkpoint::{Checkpoint, Loader, Quantization},
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

/// What rounding does to the model: the perplexity of the reference's answers, and how often the best next token
/// is the one of 32 bits.
#[test]
#[ignore = "needs the converted weights in the folder that SMOLLM2 names"]
fn rounded_weights_say_nearly_the_same() {
    let folder = PathBuf::from(std::env::var("SMOLLM2").expect("SMOLLM2 names the folder"));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smollm2.json");
    let expected: Expected =
        serde_json::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    let device = Device::flex();
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let reader = ConfigReader::new(serde_json::from_str(&config).unwrap()).unwrap();
    let (_, config) = decoder_from_hf(reader).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let measure = |dtype, quantization| {
        let model = Loader::new(&checkpoint, &llama::keys(&config), dtype)
            .with_quantization(quantization)
            .load(config.init(&device))
            .unwrap();
        let (mut loss, mut best) = (0.0, Vec::new());
        for request in &expected.requests {
            let ids: Vec<u32> = [&request.prompt_tokens[..], &request.tokens].concat();
            let input = VlmInput::left_padded(&[Sequence::text(&ids)], None, &device);
            let hidden = VisionLanguageModel::forward(&model, input, None);
            let logits = VisionLanguageModel::logits(&model, hidden);
            let logits: Vec<f32> = logits.into_data().convert::<f32>().try_into_vec().unwrap();
            let rows = logits.chunks(logits.len() / ids.len());
            for (row, next) in rows.zip(&ids[1..]) {
                let peak = row.iter().copied().fold(f32::MIN, f32::max);
                let total: f32 = row.iter().map(|score| (score - peak).exp()).sum();
                loss += f64::from(total.ln() + peak - row[*next as usize]);
                best.push(row.iter().position(|score| *score == peak));
            }
        }
        ((loss / best.len() as f64).exp(), best)
    };
    let (whole, best) = measure(FloatDType::F32, None);
    println!("f32: perplexity {whole:.3} over {} tokens", best.len());
    for (dtype, quantization, ratio, agreement) in [
        (FloatDType::BF16, None, 1.02, 0.92),
        (FloatDType::F32, Some(Quantization::Int8), 1.01, 0.97),
        (FloatDType::BF16, Some(Quantization::Int8), 1.02, 0.92),
        // They were four bits with factor and shift before.
        (FloatDType::F32, Some(Quantization::Int4), 1.02, 0.97),
    ] {
        let (perplexity, found) = measure(dtype, quantization);
        let same = found.iter().zip(&best).filter(|(a, b)| a == b).count();
        let same = same as f64 / best.len() as f64;
        let what = format!("{dtype:?} {quantization:?}");
        println!(
            "{what}: perplexity {perplexity:.3}, {:.1}% of the best tokens agree",
            100.0 * same
        );
        assert!(perplexity / whole < ratio && same > agreement, "{what}");
    }
}
