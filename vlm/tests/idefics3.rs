//! What Idefics3 and SmolVLM refuse, and how they are asked without a chat template.

mod common;

use std::fs;

use burn::tensor::{Device, FloatDType};
use common::{copy, edit};
use image::RgbImage;
use serde_json::{Value, json};
use vlm::{Pretrained, Prompt, chat_template::Message};

const SMOLVLM: &str = "idefics3/smolvlm";

/// The one line that loading an edited folder says.
fn refused(file: &str, change: impl FnOnce(&mut Value)) -> String {
    let folder = copy(SMOLVLM);
    edit(folder.path(), file, change);
    let error = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap_err();
    let path = format!("{}/", folder.path().display());
    error.to_string().replace(&path, "")
}

#[test]
fn another_number_of_image_tokens_is_refused() {
    let line = refused("processor_config.json", |json| {
        json["image_seq_len"] = json!(169)
    });
    let expected = "processor_config.json: key `image_seq_len`: a crop has 4 tokens, found 169";
    assert_eq!(line, expected);
}

#[test]
fn tokens_that_the_tokenizer_lacks_are_named() {
    let line = refused("config.json", |json| json["image_token_id"] = json!(5000));
    assert!(line.contains("5000"), "{line}");
    let line = refused("tokenizer.json", |json| {
        let tokens = json["added_tokens"].as_array_mut().unwrap();
        tokens.retain(|token| token["content"] != "<fake_token_around_image>");
    });
    assert!(line.contains("<fake_token_around_image>"), "{line}");
}

#[test]
fn crops_that_do_not_divide_are_refused_with_the_picture() {
    let folder = copy(SMOLVLM);
    edit(folder.path(), "processor_config.json", |json| {
        json["image_processor"]["max_image_size"]["longest_edge"] = json!(16);
    });
    let smolvlm = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap();
    let prompt = Prompt::Text("<image>".to_owned());
    let error = smolvlm
        .processor
        .process(&prompt, &[RgbImage::new(20, 30)])
        .unwrap_err();
    let expected = "image in crops of 16 × 16 pixels: 8 × 8 patches are no square of squares of \
                    3 × 3 (scale_factor)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn videos_are_refused_by_name() {
    let smolvlm = common::load(SMOLVLM, &Device::flex());
    let message: Message = serde_json::from_value(json!({
        "role": "user",
        "content": [{ "type": "text", "text": "Hi" }, { "type": "video", "path": "a.mp4" }],
    }))
    .unwrap();
    let prompt = Prompt::Messages(vec![message]);
    let error = smolvlm
        .processor
        .process(&prompt, &[])
        .unwrap_err()
        .to_string();
    assert_eq!(error, "message 1 has a video: pictures alone are read");
}

#[test]
fn the_usual_prompt_is_the_template_s() {
    let picture = RgbImage::new(30, 20);
    for case in [SMOLVLM, "idefics3/idefics3"] {
        let with = common::load(case, &Device::flex());
        let folder = copy(case);
        fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
        let without = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap();
        let prompt = Prompt::Question("What is this?".to_owned());
        for pictures in [vec![], vec![picture.clone()], vec![picture.clone(); 2]] {
            let ids = |pretrained: &Pretrained| {
                let request = pretrained.processor.process(&prompt, &pictures).unwrap();
                request.sequence.ids()
            };
            assert_eq!(
                ids(&with),
                ids(&without),
                "{case}, {} pictures",
                pictures.len()
            );
        }
    }
}

#[test]
fn smolvlm_s_tokenizer_may_name_the_tokens_around_a_picture() {
    let folder = copy(SMOLVLM);
    edit(folder.path(), "tokenizer_config.json", |json| {
        json["extra_special_tokens"] = json!({ "fake_image_token": "<|im_end|>" });
    });
    let smolvlm = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap();
    let prompt = Prompt::Text("<image>".to_owned());
    let request = smolvlm
        .processor
        .process(&prompt, &[RgbImage::new(20, 30)])
        .unwrap();
    let ids = request.sequence.ids();
    let around = smolvlm
        .processor
        .tokenizer()
        .token_id("<|im_end|>")
        .unwrap();
    let usual = smolvlm
        .processor
        .tokenizer()
        .token_id("<fake_token_around_image>")
        .unwrap();
    assert_eq!((ids[0], ids[ids.len() - 1]), (around, around));
    assert!(!ids.contains(&usual));
}
