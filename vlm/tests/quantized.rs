//! Models whose weights are rounded at loading.

mod common;

use burn::{
    module::{Lora, Module, ModuleVisitor, Param},
    tensor::{DType, Device, FloatDType, Tensor},
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
/// Its head is the embedding table.
const TIED: &str = "llava/siglip-qwen2";

fn rounded(case: &str, quantization: Quantization, device: &Device) -> Pretrained {
    let f32 = FloatDType::F32;
    Pretrained::load_rounded(folder(case), f32, Some(quantization), device, |_, _| {}).unwrap()
}

fn logits(case: &str, pretrained: &Pretrained, device: &Device) -> Vec<f32> {
    let (expected, _) = expected(case);
    let request = &expected.requests[0];
    let prompt = Prompt::Text(request.prompt.clone());
    let images = open(case, &request.images);
    let request = pretrained.processor.process(&prompt, &images).unwrap();
    let images = Request::images(std::slice::from_ref(&request), device, DType::F32);
    let input = VlmInput::left_padded(&[request.sequence], images, device);
    let hidden = pretrained.model.forward(input, None);
    values(pretrained.model.logits(hidden))
}

#[test]
fn answers_are_near() {
    let device = Device::flex();
    for case in [CASE, TIED] {
        let whole = logits(case, &load(case, &device), &device);
        for (quantization, tolerance) in [(Quantization::Int8, INT8), (Quantization::Int4, INT4)] {
            let found = logits(case, &rounded(case, quantization, &device), &device);
            let error = relative_error(&found, &whole);
            assert!(error < tolerance, "{case} {quantization:?}: {error:e}");
            assert!(error > 1e-5, "{quantization:?} changed nothing: {error:e}");
        }
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
    for case in [CASE, TIED] {
        let whole = load(case, &device).model;
        let rounded = rounded(case, Quantization::Int8, &device).model;
        assert_eq!(whole.num_params(), rounded.num_params());
        assert_eq!(format!("{whole}"), format!("{rounded}"));
    }
}

#[test]
fn a_table_that_is_the_head_is_rounded() {
    struct Table(Option<bool>, Vec<String>);
    impl ModuleVisitor for Table {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.1.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.1.join(".").ends_with("embed_tokens.weight") {
                self.0 = Some(matches!(param.base().dtype(), DType::QFloat(_)));
            }
        }
    }
    for (case, is_rounded) in [(CASE, false), (TIED, true)] {
        let mut table = Table(None, Vec::new());
        rounded(case, Quantization::Int4, &Device::flex())
            .model
            .visit(&mut table);
        assert_eq!(table.0, Some(is_rounded), "{case}");
    }
}

#[test]
fn adapters_attach() {
    let device = Device::flex();
    let mut pretrained = rounded(CASE, Quantization::Int8, &device);
    let before = logits(CASE, &pretrained, &device);
    // A fresh adapter's second factor is zero.
    pretrained.model = pretrained.model.apply_lora(Lora::new(2, 8.0));
    let after = logits(CASE, &pretrained, &device);
    assert!(relative_error(&after, &before) < 1e-6);
}

#[test]
fn saving_is_refused_before_anything_is_written() {
    let pretrained = rounded(CASE, Quantization::Int8, &Device::flex());
    let target = tempfile::tempdir().unwrap();
    let target = target.path().join("saved");
    let error = pretrained.save(&target).unwrap_err().to_string();
    assert!(error.contains("was rounded at loading"), "{error}");
    assert!(!target.exists());
}
