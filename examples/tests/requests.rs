//! `generate --requests`: one batch, one line a request in order, each as the request alone gets it.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vlm/tests/fixtures");

fn generate(arguments: &[&str]) -> Output {
    let model = format!("{FIXTURES}/llava/clip-llama");
    Command::new(env!("CARGO_BIN_EXE_generate"))
        .args([
            "--model",
            &model,
            "--max-new-tokens",
            "8",
            "--format",
            "json",
        ])
        .args(arguments)
        .output()
        .unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn each_answer_is_the_one_that_its_request_alone_gets() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["chelsea.png", "coffee.png"] {
        let from = Path::new(FIXTURES).join("images").join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    let one = "USER: <image>\nWhat is in the picture? ASSISTANT:";
    let two = "USER: <image> <image> Compare them. ASSISTANT:";
    let requests = [
        (vec!["chelsea.png"], one),
        (vec![], "USER: Hi ASSISTANT:"),
        (vec!["coffee.png", "chelsea.png"], two),
    ];
    let file = folder.path().join("requests.jsonl");
    let text: Vec<String> = requests
        .iter()
        .map(|(images, prompt)| json!({ "images": images, "prompt": prompt }).to_string())
        .collect();
    std::fs::write(&file, text.join("\n")).unwrap();
    let together = lines(&generate(&["--requests", file.to_str().unwrap()]));
    assert_eq!(together.len(), requests.len());
    for ((images, prompt), together) in requests.iter().zip(&together) {
        let paths: Vec<String> = images
            .iter()
            .map(|name| folder.path().join(name).display().to_string())
            .collect();
        let mut arguments = vec!["--prompt", *prompt];
        arguments.extend(paths.iter().flat_map(|path| ["--image", path.as_str()]));
        assert_eq!(
            lines(&generate(&arguments)),
            std::slice::from_ref(together),
            "{prompt}"
        );
    }
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.jsonl");
    std::fs::write(&file, "{\"prompt\": \"Hi\"}\n{\"promt\": \"Hi\"}\n").unwrap();
    let output = generate(&["--requests", file.to_str().unwrap()]);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    assert!(line.contains("requests.jsonl: line 2"), "{line}");
}
