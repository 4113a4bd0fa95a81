//! Real templates that are not part of this repository, against transformers.
//!
//! ```text
//! python reference/chat_templates.py folder …/trl/chat_templates --out goldens
//! VLM_CHAT_TEMPLATE_GOLDENS=goldens cargo test -p vlm-chat-template --test real_templates -- --ignored
//! ```

mod common;

use std::{env, fs};

use serde_json::Value;

#[test]
#[ignore = "needs goldens of templates that are not ours, see the file's first lines"]
fn real_templates_render_as_in_the_reference() {
    let folder =
        env::var("VLM_CHAT_TEMPLATE_GOLDENS").expect("VLM_CHAT_TEMPLATE_GOLDENS names a folder");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for path in paths {
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy();
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
