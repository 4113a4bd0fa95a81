//! A damaged checkpoint, picture or prompt is one clear line that names the file, key or picture.

mod common;

use std::{fs, path::Path};

use burn::tensor::{Device, FloatDType};
use common::{copy, edit};
use serde_json::{Value, json};
use vlm::{Pretrained, Prompt};

/// The one line that loading says.
fn refused(folder: &Path) -> String {
    let error = Pretrained::load(folder, FloatDType::F32, &Device::flex()).unwrap_err();
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

fn expect(case: &str, damage: impl FnOnce(&Path), parts: &[&str]) {
    let folder = copy(case);
    damage(folder.path());
    let line = refused(folder.path());
    for part in parts {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
}

fn set(pointer: &'static str, value: Value) -> impl FnOnce(&Path) {
    move |folder| {
        edit(folder, "config.json", |json| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(parent).unwrap()[key] = value;
        });
    }
}

#[test]
fn keys_of_the_configuration() {
    let cases: &[(&str, Value, &str)] = &[
        (
            "/text_config/num_hidden_layers",
            json!(1_000_000_000),
            "from 1 to 4096",
        ),
        ("/model_type", json!("bert"), "key `model_type`"),
        (
            "/text_config/model_type",
            json!("gpt2"),
            "key `text_config.model_type`",
        ),
        (
            "/text_config/hidden_size",
            json!("32"),
            "key `text_config.hidden_size`",
        ),
        (
            "/text_config/hidden_size",
            json!(0),
            "key `text_config.hidden_size`",
        ),
        (
            "/text_config/num_key_value_heads",
            json!(3),
            "key `text_config.num_key_value_heads`",
        ),
        (
            "/text_config/hidden_act",
            json!("gilu"),
            "unknown variant `gilu`",
        ),
        (
            "/text_config/hiden_act",
            json!("silu"),
            "key `text_config.hiden_act`",
        ),
        (
            "/text_config/rope_parameters/rope_type",
            json!("ntk"),
            "found `ntk`",
        ),
        (
            "/vision_config/num_attention_heads",
            json!(5),
            "key `vision_config.num_attention_heads`",
        ),
        (
            "/vision_config/image_size",
            json!([28, 30]),
            "key `vision_config.image_size`",
        ),
        (
            "/vision_config/model_type",
            json!("dinov2"),
            "found `dinov2`",
        ),
        (
            "/vision_feature_layer",
            json!(-9),
            "key `vision_feature_layer`",
        ),
        (
            "/vision_feature_select_strategy",
            json!("cls"),
            "found `cls`",
        ),
        (
            "/image_token_index",
            json!(9999),
            "token 9999 is not in tokenizer.json",
        ),
        (
            "/quantization_config",
            json!({"bits": 4}),
            "key `quantization_config`",
        ),
    ];
    for (pointer, value, part) in cases {
        expect(
            "llava/clip-llama",
            set(pointer, value.clone()),
            &["config.json", part],
        );
    }
}

#[test]
fn weights() {
    let truncate = |folder: &Path| {
        let path = folder.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    expect(
        "llava/clip-llama",
        truncate,
        &["model.safetensors", "not a whole safetensors file"],
    );
    let remove = |folder: &Path| fs::remove_file(folder.join("model.safetensors")).unwrap();
    expect(
        "llava/clip-llama",
        remove,
        &["neither model.safetensors nor"],
    );
    let shard = |folder: &Path| {
        fs::remove_file(folder.join("model-00002-of-00003.safetensors")).unwrap();
    };
    expect(
        "llava/clip-llama-old",
        shard,
        &["model-00002-of-00003.safetensors"],
    );
    let wider = set("/text_config/intermediate_size", json!(65));
    let parts = [
        "of another shape",
        "mlp.gate_proj.weight: expected [65, 32], found [64, 32]",
    ];
    expect("llava/clip-llama", wider, &parts);
    let deeper = set("/text_config/num_hidden_layers", json!(3));
    expect(
        "llava/clip-llama",
        deeper,
        &["missing", "language_model.model.layers.2."],
    );
    let shallower = set("/text_config/num_hidden_layers", json!(1));
    expect(
        "llava/clip-llama",
        shallower,
        &["unknown to the model", "language_model.model.layers.1."],
    );
}

#[test]
fn files_of_the_processor() {
    let broken =
        |name: &'static str| move |folder: &Path| fs::write(folder.join(name), "{").unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
    ] {
        expect("llava/clip-llama", broken(name), &[name]);
    }
    let template = |folder: &Path| {
        fs::write(
            folder.join("chat_template.jinja"),
            "{% for m in messages %}",
        )
        .unwrap();
    };
    expect("llava/clip-llama", template, &["chat_template.jinja"]);
    let resample = |folder: &Path| {
        edit(folder, "processor_config.json", |json| {
            json["image_processor"]["resample"] = json!(9);
        });
    };
    expect(
        "llava/clip-llama",
        resample,
        &["processor_config.json", "resample"],
    );
    let ids = |folder: &Path| {
        edit(folder, "generation_config.json", |json| {
            json["eos_token_id"] = json!("end")
        });
    };
    let folder = copy("llava/clip-llama");
    ids(folder.path());
    let pretrained = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap();
    let line = pretrained.generation_config(1).unwrap_err().to_string();
    assert!(
        line.contains("generation_config.json: key `eos_token_id`"),
        "{line}"
    );
}

#[test]
fn prompts_and_pictures() {
    let pretrained = common::load("llava/clip-llama", &Device::flex());
    let picture = common::open("llava/clip-llama", &["../../images/chelsea.png".into()]).remove(0);
    let refused = |prompt: &str, images: usize| {
        let prompt = Prompt::Text(prompt.to_owned());
        let images = vec![picture.clone(); images];
        pretrained
            .processor
            .process(&prompt, &images)
            .unwrap_err()
            .to_string()
    };
    assert!(refused("<image> What?", 2).ends_with("image 2 has none"));
    assert!(refused("<image><image> What?", 1).ends_with("placeholder 2 has no image"));
    // What a user writes stands for no picture.
    let question = Prompt::Question("Is <image> a word?".to_owned());
    let request = pretrained.processor.process(&question, &[picture]).unwrap();
    assert_eq!(request.images.len(), 1);
    assert_eq!(
        request
            .sequence
            .ids()
            .iter()
            .filter(|id| **id == 380)
            .count(),
        16
    );
}

#[test]
fn sizes_and_ids_that_the_model_does_not_take() {
    let folder = copy("llava/clip-llama");
    edit(folder.path(), "processor_config.json", |json| {
        json["image_processor"]["crop_size"] = json!({ "height": 28, "width": 14 });
    });
    let pretrained = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap();
    let picture = common::open("llava/clip-llama", &["../../images/chelsea.png".into()]);
    let prompt = Prompt::Text("<image>".to_owned());
    let line = pretrained
        .processor
        .process(&prompt, &picture)
        .unwrap_err()
        .to_string();
    assert!(line.contains("28 × 14, the tower takes 28 × 28"), "{line}");

    let folder = copy("llava/clip-llama");
    edit(folder.path(), "config.json", |json| {
        json["text_config"]["vocab_size"] = json!(300);
    });
    let config = vlm::AnyConfig::from_folder(folder.path()).unwrap();
    let processor = vlm::Processor::from_folder(folder.path(), &config).unwrap();
    let line = processor.process(&prompt, &picture);
    assert!(line.is_ok(), "a picture's own id is not looked up");
    let prompt = Prompt::Text("What is this?".to_owned());
    let line = processor.process(&prompt, &[]).unwrap_err().to_string();
    assert!(line.contains("vocab_size is 300"), "{line}");
}

#[test]
fn without_a_chat_template_a_question_has_the_usual_form() {
    let folder = copy("llava/clip-llama");
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let pretrained = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap();
    let picture = common::open("llava/clip-llama", &["../../images/chelsea.png".into()]);
    let ids = |prompt| {
        pretrained
            .processor
            .process(&prompt, &picture)
            .unwrap()
            .sequence
            .ids()
    };
    assert_eq!(
        ids(Prompt::Question("What is it?".to_owned())),
        ids(Prompt::Text(
            "USER: <image>\nWhat is it? ASSISTANT:".to_owned()
        ))
    );
    let messages = serde_json::from_str(r#"[{"role": "user", "content": "Hi"}]"#).unwrap();
    let line = pretrained
        .processor
        .process(&Prompt::Messages(messages), &[])
        .unwrap_err()
        .to_string();
    assert!(line.contains("has no chat template"), "{line}");
}

/// The tower decides how many tokens a picture takes; keys of the processor may be absent, not contradict it.
#[test]
fn keys_of_the_processor_that_contradict_the_model() {
    let cases: &[(&str, Value, &str)] = &[
        ("patch_size", json!(14), "only 7 is supported, found 14"),
        (
            "num_additional_image_tokens",
            json!(0),
            "only 1 is supported, found 0",
        ),
        (
            "vision_feature_select_strategy",
            json!("full"),
            "only \"default\" is supported",
        ),
        ("image_token", json!("<picture>"), "expected `<image>`"),
        ("chat_template", json!("{{ x }}"), "chat_template.jinja"),
        ("num_tokens", json!(3), "not a key"),
    ];
    for (key, value, message) in cases {
        let damage = |folder: &Path| {
            edit(folder, "processor_config.json", |json| {
                json[*key] = value.clone();
            });
        };
        let name = format!("processor_config.json: key `{key}`");
        expect("llava/clip-llama", damage, &[&name, message]);
    }
    let folder = copy("llava/clip-llama");
    edit(folder.path(), "processor_config.json", |json| {
        let keys = json.as_object_mut().unwrap();
        keys.retain(|key, _| key == "image_processor");
    });
    Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap();
}
