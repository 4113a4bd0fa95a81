//! Models whose weights are rounded at loading.

mod common;

use burn::{
    module::{Lora, Module},
    tensor::{DType, Device, FloatDType},
};
use common::{expected, folder, load, open, relative_error, values};
use vlm::{
    Pretrained, Prompt, Request,
    checkpoint::Quantization,
    core::{VisionLanguageModel, VlmInput},
};

/// 8 bits of weights, random ones at that, whose rounding errors grow through the layers.
const INT8: f64 = 5e-2;
/// 4 bits: the answer's direction remains.
const INT4: f64 = 0.4;
const CASE: &str = "llava/clip-llama";

fn rounded(quantization: Quantization, device: &Device) -> Pretrained {
    let f32 = FloatDType::F32;
    Pretrained::load_rounded(folder(CASE), f32, Some(quantization), device, |_, _| {}).unwrap()
}

fn logits(pretrained: &Pretrained, device: &Device) -> Vec<f32> {
    let (expected, _) = expected(CASE);
    let request = &expected.requests[0];
    let prompt = Prompt::Text(request.prompt.clone());
    let images = open(CASE, &request.images);
    let request = pretrained.processor.process(&prompt, &images).unwrap();
    let images = Request::images(std::slice::from_ref(&request), device, DType::F32);
    let input = VlmInput::left_padded(&[request.sequence], images, device);
    let hidden = pretrained.model.forward(input, None);
    values(pretrained.model.logits(hidden))
}

#[test]
fn answers_are_near() {
    let device = Device::flex();
    let whole = logits(&load(CASE, &device), &device);
    for (quantization, tolerance) in [(Quantization::Int8, INT8), (Quantization::Int4, INT4)] {
        let found = logits(&rounded(quantization, &device), &device);
        let error = relative_error(&found, &whole);
        assert!(error < tolerance, "{quantization:?}: {error:e}");
        assert!(error > 1e-5, "{quantization:?} changed nothing: {error:e}");
    }
}

#[test]
fn other_devices_are_refused() {
    #[allow(deprecated)]
    let device = Device::ndarray();
    let (f32, int8) = (FloatDType::F32, Some(Quantization::Int8));
    let loaded = Pretrained::load_rounded(folder(CASE), f32, int8, &device, |_, _| {});
    let error = loaded.unwrap_err().to_string();
    assert!(error.contains("expected flex"), "{error}");
}

#[test]
fn paths_of_parameters_stay() {
    let device = Device::flex();
    let whole = load(CASE, &device).model;
    let rounded = rounded(Quantization::Int8, &device).model;
    assert_eq!(whole.num_params(), rounded.num_params());
    assert_eq!(format!("{whole}"), format!("{rounded}"));
}

#[test]
fn adapters_attach() {
    let device = Device::flex();
    let mut pretrained = rounded(Quantization::Int8, &device);
    let before = logits(&pretrained, &device);
    // A fresh adapter's second factor is zero.
    pretrained.model = pretrained.model.apply_lora(Lora::new(2, 8.0));
    let after = logits(&pretrained, &device);
    assert!(relative_error(&after, &before) < 1e-6);
}

#[test]
fn saving_is_refused_before_anything_is_written() {
    let pretrained = rounded(Quantization::Int8, &Device::flex());
    let target = tempfile::tempdir().unwrap();
    let target = target.path().join("saved");
    let error = pretrained.save(&target).unwrap_err().to_string();
    assert!(error.contains("was rounded at loading"), "{error}");
    assert!(!target.exists());
}
