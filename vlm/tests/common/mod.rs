//! Checkpoints and expected values that `reference/llava.py` wrote.
#![allow(dead_code)] // each test file uses its part

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor};
use image::RgbImage;
use serde::Deserialize;
use vlm::{Pretrained, chat_template::Message, core::checkpoint::Checkpoint};

/// Relative norm of the difference in 32 bits. The sums are the reference's in another order, which moves
/// them by some 1e-6; a wrong epsilon or activation by 1e-5 and more.
pub const F32: f64 = 1e-5;

pub const CASES: [&str; 6] = [
    "clip-llama",
    "clip-llama-old",
    "clip-mistral-bf16",
    "siglip-qwen2",
    "clip-llama3",
    "clip-dynamic",
];

#[derive(Deserialize)]
pub struct Expected {
    pub requests: Vec<Request>,
    pub messages: Vec<Conversation>,
}

#[derive(Deserialize)]
pub struct Request {
    pub images: Vec<PathBuf>,
    pub prompt: String,
    pub prompt_tokens: Vec<u32>,
    pub tokens: Vec<u32>,
    pub text: String,
}

#[derive(Deserialize)]
pub struct Conversation {
    pub images: Vec<PathBuf>,
    pub messages: Vec<Message>,
    pub prompt_tokens: Vec<u32>,
    pub tokens: Vec<u32>,
}

pub fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/llava")
        .join(case)
}

pub fn expected(case: &str) -> (Expected, Checkpoint) {
    let text = std::fs::read_to_string(folder(case).join("expected.json")).unwrap();
    let tensors = Checkpoint::open_file(folder(case).join("expected.safetensors")).unwrap();
    (serde_json::from_str(&text).unwrap(), tensors)
}

pub fn load(case: &str, device: &Device) -> Pretrained {
    Pretrained::load(folder(case), FloatDType::F32, device)
        .unwrap_or_else(|error| panic!("{error}"))
}

pub fn open(case: &str, images: &[PathBuf]) -> Vec<RgbImage> {
    let open = |path| vlm::open_image(folder(case).join(path)).unwrap();
    images.iter().map(open).collect()
}

#[allow(deprecated)] // burn deprecates ndarray in favour of flex
pub fn devices() -> [Device; 2] {
    [Device::flex(), Device::ndarray()]
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

pub fn read(tensors: &Checkpoint, key: &str) -> Vec<f32> {
    let data = tensors.read(key, FloatDType::F32).unwrap();
    data.try_into_vec().unwrap()
}

/// `‖a − b‖ / ‖b‖`
pub fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let mut difference = found.iter().zip(expected).map(|(a, b)| f64::from(a - b));
    norm(&mut difference) / norm(&mut expected.iter().map(|v| f64::from(*v)))
}
