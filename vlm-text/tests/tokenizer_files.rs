//! Files beside `tokenizer.json` change what transformers' `AutoTokenizer` makes of it: see
//! `reference/tokenizer_files.py`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};
use vlm_text::{DecoderKind, Tokenizer};

#[derive(Deserialize)]
struct Case {
    kind: String,
    model_type: String,
    drop: Vec<String>,
    change: BTreeMap<String, Value>,
    files: BTreeMap<String, Value>,
    special_tokens: BTreeMap<String, String>,
    length: usize,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

fn cases() -> BTreeMap<String, Case> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = fs::read_to_string(fixtures.join("tokenizer_files/files.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The folder that the script made of a case.
fn write(case: &Case, name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    let text = fs::read_to_string(fixtures.join(format!("{}.json", case.kind))).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
    let dropped = |token: &Value| case.drop.iter().any(|drop| token["content"] == **drop);
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    added.retain(|token| !dropped(token));
    for (key, value) in &case.change {
        tokenizer[key] = value.clone();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tokenizer_files.{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, value: &Value| {
        fs::write(folder.join(name), value.to_string()).unwrap();
    };
    write("tokenizer.json", &tokenizer);
    for (name, content) in &case.files {
        write(name, content);
    }
    folder
}

fn load(case: &Case, name: &str) -> Result<Tokenizer, vlm_core::Error> {
    let folder = write(case, name);
    match case.model_type.as_str() {
        "llama" => Tokenizer::of_decoder(&folder, DecoderKind::Llama),
        "mistral" => Tokenizer::of_decoder(&folder, DecoderKind::Mistral),
        "qwen2" => Tokenizer::of_decoder(&folder, DecoderKind::Qwen2),
        _ => Tokenizer::from_folder(&folder),
    }
}

#[test]
fn every_folder_equals_the_reference() {
    for (name, case) in cases() {
        let tokenizer = load(&case, &name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let named = tokenizer.special_tokens();
        let named: BTreeMap<String, String> = named.map(|(n, t)| (n.into(), t.into())).collect();
        assert_eq!(named, case.special_tokens, "{name}");
        assert_eq!(tokenizer.vocab_size(), case.length, "{name}");
        for sample in &case.samples {
            let ids = tokenizer.encode(&sample.text, true).unwrap();
            assert_eq!(ids, sample.ids, "{name}: {:?}", sample.text);
            let decoded = tokenizer.decode(&ids);
            assert_eq!(decoded, sample.decoded, "{name}: {:?}", sample.text);
        }
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let refused = |case: &str, edit: &dyn Fn(&mut Case)| {
        let mut case = cases().remove(case).unwrap();
        edit(&mut case);
        load(&case, "refused").unwrap_err().to_string()
    };
    let set = |key: &'static str, value: Value| {
        move |case: &mut Case| {
            case.files.get_mut("tokenizer_config.json").unwrap()[key] = value.clone();
        }
    };
    let line = refused("llama", &set("tokenizer_class", json!("XLNetTokenizer")));
    assert!(
        line.contains("tokenizer_config.json: key `tokenizer_class`"),
        "{line}"
    );
    assert!(line.contains("found `XLNetTokenizer`"), "{line}");
    let line = refused("llama", &set("legacy", json!("yes")));
    assert!(
        line.contains("key `legacy`: expected true or false"),
        "{line}"
    );
    let line = refused("llama", &|case| case.kind = "unigram".to_owned());
    assert!(line.contains("needs a BPE"), "{line}");
    let line = refused(
        "decoder",
        &set("added_tokens_decoder", json!({"380": "<x>"})),
    );
    assert!(line.contains("key `added_tokens_decoder.380`"), "{line}");
    let line = refused("decoder", &set("bos_token", json!(1)));
    assert!(line.contains("key `bos_token`: expected a token"), "{line}");
    let line = refused("map", &|case| {
        let tokens = case.files.get_mut("added_tokens.json").unwrap();
        tokens["<extra>"] = json!("last");
    });
    assert!(line.contains("added_tokens.json: key `<extra>`"), "{line}");
}
