//! Checkpoints and expected values that the scripts in `reference/` wrote.
#![allow(dead_code)] // each test file uses its part

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor};
use image::RgbImage;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use vlm::{Pretrained, chat_template::Message, core::checkpoint::Checkpoint};

/// Relative norm of the difference in 32 bits. The sums are the reference's in another order, which moves
/// them by some 1e-6; a wrong epsilon or activation by 1e-5 and more.
pub const F32: f64 = 1e-5;

/// `<family>/<case>`, folders with weights.
pub const CASES: &[&str] = &[
    "llava/clip-llama",
    "llava/clip-llama-old",
    "llava/clip-mistral-bf16",
    "llava/siglip-qwen2",
    "llava/clip-llama3",
    "llava/clip-dynamic",
    "llava_next/mistral",
    "llava_next/siglip",
    "kosmos2/grounding",
    "kosmos2/older",
    "fuyu/nested",
    "fuyu/flat",
    "idefics3/smolvlm",
    "idefics3/idefics3",
    "idefics3/whole",
];

/// Folders whose `expected.json` has `layouts`.
pub const LAYOUTS: &[&str] = &[
    "llava_next/layouts",
    "kosmos2/older",
    "fuyu/layouts",
    "idefics3/smolvlm",
    "idefics3/idefics3",
    "idefics3/whole",
    "idefics3/layouts-smolvlm-256m",
    "idefics3/layouts-smolvlm-2b",
    "idefics3/layouts-idefics3-8b",
];

/// Dynamic scaling changes frequencies with the longest position, so that keys cached before keep theirs:
/// cached = uncached and batch = single do not hold, in the reference neither.
pub fn is_dynamic(case: &str) -> bool {
    case.ends_with("-dynamic")
}

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
    /// Of a search with three beams.
    pub beam_tokens: Option<Vec<u32>>,
    pub text: String,
}

/// The ids of a prompt with one blank picture, run-length coded.
#[derive(Deserialize)]
pub struct Layout {
    pub size: [usize; 2],
    pub prompt: String,
    pub runs: Vec<(u32, usize)>,
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
        .join("tests/fixtures")
        .join(case)
}

pub fn expected(case: &str) -> (Expected, Checkpoint) {
    let text = std::fs::read_to_string(folder(case).join("expected.json")).unwrap();
    let tensors = Checkpoint::open_file(folder(case).join("expected.safetensors")).unwrap();
    (serde_json::from_str(&text).unwrap(), tensors)
}

pub fn layouts(case: &str) -> Vec<Layout> {
    #[derive(Deserialize)]
    struct File {
        layouts: Vec<Layout>,
    }
    let text = std::fs::read_to_string(folder(case).join("expected.json")).unwrap();
    serde_json::from_str::<File>(&text).unwrap().layouts
}

/// Equal neighbours counted.
pub fn runs(ids: &[u32]) -> Vec<(u32, usize)> {
    let chunks = ids.chunk_by(|a, b| a == b);
    chunks.map(|run| (run[0], run.len())).collect()
}

/// A copy of a case's folder, to be damaged.
pub fn copy(case: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder(case)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Changes a JSON file of a folder.
pub fn edit(folder: &Path, file: &str, edit: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
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
