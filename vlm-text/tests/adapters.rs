//! Adapters that peft wrote give peft's logits, attached and merged, on every device.

mod common;

use std::path::Path;

use burn::{module::Module, tensor::FloatDType};
use common::{LOGITS_F32, config, devices, folder, keys, load, relative_error};
use serde::Deserialize;
use vlm_core::{
    Sequence, VisionLanguageModel, VlmInput,
    checkpoint::{Checkpoint, load_adapter},
};
use vlm_text::CausalLm;

#[derive(Deserialize)]
struct Expected {
    case: String,
    prompt_tokens: Vec<u32>,
}

fn read(name: &str) -> (Expected, burn::tensor::TensorData) {
    let folder = folder("adapters").join(name);
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let tensors = Checkpoint::open_file(folder.join("expected.safetensors")).unwrap();
    let logits = tensors.read("logits", FloatDType::F32).unwrap();
    (serde_json::from_str(&text).unwrap(), logits)
}

fn check(name: &str) {
    let (expected, logits) = read(name);
    let config = config(&expected.case, "config.json");
    for device in devices() {
        let error = |model: &CausalLm| {
            let prompt = [Sequence::text(&expected.prompt_tokens)];
            let input = VlmInput::left_padded(&prompt, None, &device);
            let hidden = VisionLanguageModel::forward(model, input, None);
            let found = VisionLanguageModel::logits(model, hidden).squeeze_dim(0);
            relative_error(found, logits.clone())
        };
        let plain = load(&expected.case, &config, &device);
        assert!(error(&plain) > 0.05, "{name}");
        let adapter = folder("adapters").join(name);
        let keys = keys(&expected.case, &config);
        let adapted = load_adapter(plain, adapter, &keys, FloatDType::F32).unwrap();
        let attached = error(&adapted);
        assert!(attached < LOGITS_F32, "{name} on {device:?}: {attached:e}");
        let merged = error(&adapted.materialize());
        assert!(
            merged < LOGITS_F32,
            "{name} on {device:?}, merged: {merged:e}"
        );
    }
}

#[test]
fn plain() {
    check("plain");
}

#[test]
fn rank_stabilised_with_patterns() {
    check("patterns");
}

#[test]
fn modules_that_were_saved_whole() {
    check("whole");
}

#[test]
fn queries_keys_and_values_in_one() {
    check("fused");
}

#[test]
fn an_adapter_that_does_not_fit_is_refused() {
    let device = burn::tensor::Device::flex();
    let try_on = |case: &str, adapter: &Path| {
        let config = config(case, "config.json");
        let model = load(case, &config, &device);
        let loaded = load_adapter(model, adapter, &keys(case, &config), FloatDType::F32);
        loaded.map(drop).unwrap_err().to_string()
    };
    let plain = folder("adapters").join("plain");
    let missing = try_on("llama", &folder("adapters"));
    assert!(missing.contains("adapter_config.json"), "{missing}");
    let shape = try_on("mistral", &plain);
    assert!(
        shape.contains("has shape") && shape.contains("lora_"),
        "{shape}"
    );
    let stranger = try_on("llama", &folder("adapters").join("patterns"));
    assert!(stranger.contains("adapter_model.safetensors"), "{stranger}");
}
