//! What LLaVA-NeXT alone has: keys of its own repository, keys that are refused.

mod common;

use std::fs;

use burn::tensor::{Device, FloatDType};
use common::{copy, edit};
use safetensors::SafeTensors;
use vlm::{
    Pretrained, Prompt, Request,
    core::{VisionLanguageModel, VlmInput},
};

const CASE: &str = "llava_next/mistral";

fn logits(pretrained: &Pretrained) -> Vec<f32> {
    let (expected, _) = common::expected(CASE);
    let wanted = &expected.requests[0];
    let images = common::open(CASE, &wanted.images);
    let prompt = Prompt::Text(wanted.prompt.clone());
    let request = pretrained.processor.process(&prompt, &images).unwrap();
    let device = Device::flex();
    let images = Request::images(
        std::slice::from_ref(&request),
        &device,
        FloatDType::F32.into(),
    );
    let input = VlmInput::left_padded(&[request.sequence], images, &device);
    common::values(
        pretrained
            .model
            .logits(pretrained.model.forward(input, None)),
    )
}

/// The names of [LLaVA's repository](https://github.com/haotian-liu/LLaVA).
fn original_name(name: &str) -> String {
    [
        ("language_model.model.", "model."),
        ("language_model.lm_head.", "lm_head."),
        (
            "vision_tower.vision_model.",
            "model.vision_tower.vision_tower.vision_model.",
        ),
        (
            "vision_tower.",
            "model.vision_tower.vision_tower.vision_model.",
        ),
        ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("image_newline", "model.image_newline"),
    ]
    .iter()
    .find_map(|(new, old)| Some(format!("{old}{}", name.strip_prefix(new)?)))
    .unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn weights_under_the_names_of_the_original_repository() {
    let device = Device::flex();
    let folder = copy(CASE);
    let file = folder.path().join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.tensors().into_iter();
    let renamed: Vec<_> = renamed
        .map(|(name, view)| (original_name(&name), view))
        .collect();
    safetensors::serialize_to_file(renamed, None, &file).unwrap();
    let original = Pretrained::load(folder.path(), FloatDType::F32, &device).unwrap();
    assert!(logits(&original) == logits(&common::load(CASE, &device)));
}

#[test]
fn keys_that_cannot_be_served_are_refused_by_name() {
    let refused = |file: &str, edit_keys: &dyn Fn(&mut serde_json::Value)| {
        let folder = copy(CASE);
        edit(folder.path(), file, edit_keys);
        let error = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex());
        error.unwrap_err().to_string()
    };
    for (key, value, expected) in [
        (
            "image_grid_pinpoints",
            serde_json::json!([[28, 30]]),
            "config.json: key `image_grid_pinpoints`: expected multiples",
        ),
        (
            "image_grid_pinpoints",
            serde_json::json!([[28, 28]]),
            "processor_config.json: key `image_processor.image_grid_pinpoints`: differs",
        ),
        (
            "vision_feature_select_strategy",
            serde_json::json!("full"),
            "config.json: key `vision_feature_select_strategy`: the tower's features",
        ),
        (
            "use_image_newline_parameter",
            serde_json::json!(false),
            "config.json: key `use_image_newline_parameter`",
        ),
    ] {
        let line = refused("config.json", &|json| json[key] = value.clone());
        assert!(line.contains(expected), "{line}");
    }
}
