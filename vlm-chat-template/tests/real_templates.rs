//! Real templates that are not part of this repository, against transformers.
//!
//! ```text
//! python reference/chat_templates.py folder …/trl/chat_templates --out /tmp/goldens
//! VLM_CHAT_TEMPLATE_GOLDENS=/tmp/goldens cargo test --release --workspace --test real_templates -- --ignored
//! ```

mod common;

use std::{collections::BTreeMap, env, fs};

use serde_json::Value;
use vlm_chat_template::{Error, Message, RenderOptions};

/// Templates with the conversations and goldens that the script made of them.
fn files() -> BTreeMap<String, Value> {
    let folder =
        env::var("VLM_CHAT_TEMPLATE_GOLDENS").expect("VLM_CHAT_TEMPLATE_GOLDENS names a folder");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let file = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (
            path.file_stem().unwrap().to_string_lossy().into_owned(),
            file,
        )
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

#[test]
#[ignore = "needs goldens of templates that are not ours, see the file's first lines"]
fn real_templates_render_as_in_the_reference() {
    let (mut count, mut failures) = (0, Vec::new());
    for (name, file) in files() {
        for case in file["cases"].as_array().unwrap() {
            count += 1;
            let ours = common::outcome(case, &name, file["source"].as_str().unwrap());
            if !common::agrees(&ours, &case["golden"]) {
                failures.push(format!(
                    "{name} {}\n  ours   {ours}\n  golden {}",
                    case["name"], case["golden"]
                ));
            }
        }
    }
    assert!(count > 0, "no goldens found");
    assert!(
        failures.is_empty(),
        "{} of {count} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    println!("{count} renderings agree");
}

/// Twins that mark more than a model writes after the generation prompt, each with its reason.
const WIDER: &[(&str, &str)] = &[
    ("glm4moe", "the role of the next message, which ends a turn"),
    (
        "gptoss",
        "the channel, of which the generation prompt writes a part",
    ),
    (
        "muse_glimmer",
        "the recipient, of which the generation prompt writes a part",
    ),
    ("qwen2_5", "the line break after the role"),
    ("qwen3_5_nothink", "the opening of the reasoning"),
    ("qwen3_5_think", "the opening of the reasoning"),
    ("qwen3_6", "the opening of the reasoning"),
    ("qwen3_8", "the opening of the reasoning"),
];

/// trl has twins of templates in which `{% generation %}` marks what the assistant says: turns that are found by
/// rendering hold the same words.
#[test]
#[ignore = "needs goldens of templates that are not ours, see the file's first lines"]
fn turns_of_real_templates_hold_what_their_training_twins_mark() {
    let files = files();
    let (mut compared, mut unstable, mut failures) = (0, 0, Vec::new());
    for (name, file) in &files {
        if WIDER.iter().any(|(wider, _)| wider == name) {
            continue;
        }
        let Some(twin) = files.get(&format!("{name}_training")) else {
            continue;
        };
        let cases = file["cases"].as_array().unwrap().iter();
        for (case, marked) in cases.zip(twin["cases"].as_array().unwrap()) {
            let closed = case["name"].as_str().unwrap().ends_with("/0");
            let golden = &marked["golden"];
            // A twin may write history otherwise.
            if !closed || golden["text"].is_null() || golden["text"] != case["golden"]["text"] {
                continue;
            }
            let template = common::template(case, name, file["source"].as_str().unwrap()).unwrap();
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            let turns = match template.render_turns(&messages, &RenderOptions::new()) {
                Err(Error::NotPrefixStable { .. } | Error::Raised { .. }) => {
                    unstable += 1;
                    continue;
                }
                turns => turns.unwrap().generated_chars().unwrap(),
            };
            compared += 1;
            let blocks = golden["generated"].as_array().unwrap().iter();
            let blocks: Vec<_> = blocks
                .map(|block| {
                    let place = |index: usize| block[index].as_u64().unwrap() as usize;
                    place(0)..place(1)
                })
                .filter(|block| !block.is_empty())
                .collect();
            let inside = |block: &std::ops::Range<usize>| {
                let holds = |turn: &std::ops::Range<usize>| {
                    turn.start <= block.start && block.end <= turn.end
                };
                turns.iter().any(holds)
            };
            if !blocks.iter().all(inside) {
                failures.push(format!(
                    "{name} {}: turns {turns:?}, blocks {blocks:?}\n  {}",
                    case["name"], golden["text"]
                ));
            }
        }
    }
    assert!(compared > 0, "no twins found");
    assert!(
        failures.is_empty(),
        "{} of {compared} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    println!("{compared} conversations agree, {unstable} have no stable beginning");
}
