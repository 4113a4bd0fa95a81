//! What `generate` says to wrong flags and files: one line that names them, and an exit code.

use std::{
    path::Path,
    process::{Command, Output},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vlm/tests/fixtures");

/// A flag is wrong.
const USAGE: i32 = 2;
/// Anything else is.
const FAILURE: i32 = 1;

fn generate(model: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_generate"))
        .args(["--model", &format!("{FIXTURES}/{model}")])
        .args(arguments)
        .output()
        .unwrap()
}

fn check(model: &str, arguments: &[&str], code: i32, parts: &[&str]) {
    let output = generate(model, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "{arguments:?}: {said}");
    assert!(lines[0].starts_with("error: "), "{said}");
    for part in parts {
        assert!(
            lines[0].contains(part),
            "{arguments:?}: no `{part}` in {said}"
        );
    }
}

#[test]
fn flags() {
    let llava = |arguments: &[&str], parts: &[&str]| {
        check("llava/clip-llama", arguments, USAGE, parts);
    };
    llava(
        &["--temprature", "1", "Hi"],
        &["'--temprature'", "'--temperature'"],
    );
    llava(&["--top-p", "high", "Hi"], &["'high'", "'--top-p <P>'"]);
    llava(&["--top-p", "1.5", "Hi"], &["--top-p", "at most 1", "1.5"]);
    llava(&["--format", "yaml", "Hi"], &["'yaml'", "text, json"]);
    llava(&["--device", "tpu", "Hi"], &["tpu", "flex"]);
    llava(&["--image"], &["'--image <PATH>'"]);
    llava(&[""], &["QUESTION", "empty"]);
    llava(&["  \n"], &["QUESTION", "empty"]);
    llava(
        &["Hi", "--prompt", "Hi"],
        &["'[QUESTION]'", "'--prompt <TEXT>'"],
    );
    llava(&["--format", "json"], &["--format json", "question"]);
    let beams = ["--beams", "2", "--temperature", "1", "Hi"];
    llava(&beams, &["--beams and --temperature"]);
    let output = Command::new(env!("CARGO_BIN_EXE_generate"))
        .args(["--model", "no such model", "Hi"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(USAGE));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("neither a folder nor a hub id"), "{said}");
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let llava = |arguments: &[&str], parts: &[&str]| {
        check("llava/clip-llama", arguments, FAILURE, parts);
    };
    llava(&["--image", "no.png", "Hi"], &["no.png", "No such file"]);
    let text = file("words.png", b"not a picture");
    llava(&["--image", &text, "Hi"], &["words.png"]);
    let empty = file("empty.jpg", b"");
    llava(&["--image", &empty, "Hi"], &["empty.jpg"]);
    let here = folder.path().to_str().unwrap();
    llava(&["--image", here, "Hi"], &[here]);
    for (name, content, part) in [
        ("open.json", "[{\"role\": \"user\"", "line 1"),
        ("object.json", "{\"role\": \"user\"}", "sequence"),
        ("none.json", "[]", "message"),
        ("nobody.json", "[{\"content\": \"Hi\"}]", "role"),
    ] {
        let path = file(name, content.as_bytes());
        llava(&["--messages", &path], &[name, part]);
    }
    llava(&["--messages", "no.json"], &["no.json", "No such file"]);
    llava(
        &["--logits", "no/l.safetensors", "Hi"],
        &["no/l.safetensors", "no folder no"],
    );
    let picture = format!("{FIXTURES}/images/coffee.png");
    llava(
        &["--image", &picture, "--prompt", "Hi"],
        &["image 1 has none"],
    );
    llava(&["--prompt", "<image> Hi"], &["placeholder 1 has no image"]);
}

#[test]
fn drawing() {
    let picture = format!("{FIXTURES}/images/coffee.png");
    let usage = |model: &str, arguments: &[&str], parts: &[&str]| {
        check(model, arguments, USAGE, parts);
    };
    let kosmos = "kosmos2/grounding";
    let no_boxes = "no boxes or points";
    let with_picture = ["--image", &picture, "--draw", "a.png", "Hi"];
    usage("llava/clip-llama", &with_picture, &["--draw", no_boxes]);
    usage(
        "llava/clip-llama",
        &["--post-process", "Hi"],
        &["--post-process", no_boxes],
    );
    usage(
        kosmos,
        &["--draw", "a.png", "Hi"],
        &["--draw", "one --image", "found 0"],
    );
    usage(
        kosmos,
        &["--image", &picture, "--draw", "a.png"],
        &["--draw", "question"],
    );
    let as_text = ["--image", &picture, "--draw", "a.txt", "Hi"];
    usage(kosmos, &as_text, &["--draw a.txt", "boxes.png"]);
    let nowhere = ["--image", &picture, "--draw", "no/a.png", "Hi"];
    check(kosmos, &nowhere, FAILURE, &["no/a.png", "no folder no"]);
    assert!(!Path::new("a.png").exists());
}
