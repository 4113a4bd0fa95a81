//! Checkpoints and expected values that `reference/text.py` wrote.
#![allow(dead_code)] // each test file uses its part

pub mod script;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use serde::Deserialize;
use vlm_core::{
    ConfigReader,
    checkpoint::{Checkpoint, KeyMap, Loader},
};
use vlm_text::{CausalLm, CausalLmConfig, decoder_from_hf, llama, persimmon};

/// Relative norm of the difference of logits in 32 bits. The sums are the reference's in another order, which
/// moves them by some 1e-6; a wrong epsilon or activation by 1e-5 and more.
pub const LOGITS_F32: f64 = 1e-5;

#[derive(Deserialize)]
pub struct Expected {
    pub positions: usize,
    pub variants: Vec<Variant>,
}

#[derive(Deserialize)]
pub struct Variant {
    pub name: String,
    pub config: String,
    pub requests: Vec<Request>,
    pub batch: Option<Batch>,
}

#[derive(Deserialize)]
pub struct Request {
    pub prompt: String,
    pub prompt_tokens: Vec<u32>,
    pub tokens: Vec<u32>,
    pub text: String,
}

#[derive(Deserialize)]
pub struct Batch {
    pub attention_mask: Vec<Vec<u32>>,
}

pub fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(case)
}

pub fn expected(case: &str) -> (Expected, Checkpoint) {
    let text = std::fs::read_to_string(folder(case).join("expected.json")).unwrap();
    let tensors = Checkpoint::open_file(folder(case).join("expected.safetensors")).unwrap();
    (serde_json::from_str(&text).unwrap(), tensors)
}

pub fn config(case: &str, file: &str) -> CausalLmConfig {
    let text = std::fs::read_to_string(folder(case).join(file)).unwrap();
    let reader = ConfigReader::new(serde_json::from_str(&text).unwrap()).unwrap();
    decoder_from_hf(reader).unwrap().1
}

pub fn load(case: &str, config: &CausalLmConfig, device: &Device) -> CausalLm {
    let checkpoint = Checkpoint::open(folder(case)).unwrap();
    Loader::new(&checkpoint, &keys(case, config), FloatDType::F32)
        .load(config.init(device))
        .unwrap()
}

pub fn keys(case: &str, config: &CausalLmConfig) -> KeyMap {
    match case {
        "persimmon" => persimmon::keys(config),
        _ => llama::keys(config),
    }
}

/// Both CPU backends, and one with autodiff: attention takes other paths there.
#[allow(deprecated)] // burn deprecates ndarray in favour of flex
pub fn devices() -> [Device; 3] {
    [Device::flex(), Device::ndarray(), Device::flex().autodiff()]
}

/// `‖a − b‖ / ‖b‖`
pub fn relative_error(found: Tensor<2>, expected: TensorData) -> f64 {
    let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
    let expected: Vec<f32> = expected.try_into_vec().unwrap();
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = found.iter().zip(&expected).map(|(a, b)| f64::from(a - b));
    norm(&mut difference.into_iter()) / norm(&mut expected.iter().map(|v| f64::from(*v)))
}
