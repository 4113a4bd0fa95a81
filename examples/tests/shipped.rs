//! `generate` without `--model`.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

fn generate(arguments: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_generate"))
        .current_dir(elsewhere.path())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn picture(name: &str) -> String {
    format!("{}/world/pictures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_model_that_ships_reads_a_digit_that_it_never_saw() {
    let output = generate(&["--image", &picture("digit.png"), "Which digit is this?"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "5");
}

#[test]
fn the_model_that_ships_points_and_its_box_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("boxes.png");
    let path = file.to_str().unwrap();
    let image = picture("shapes.png");
    let draw = |question| generate(&["--image", &image, "--draw", path, question]);

    let output = draw("Where is the yellow heart?");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("1 box"), "{told}");
    let before = image::open(&image).unwrap().to_rgb8();
    assert_ne!(image::open(&file).unwrap().to_rgb8(), before);

    // An answer without a place leaves the picture as it was, and says so.
    let output = draw("How many objects are there?");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("no boxes"), "{told}");
    assert_eq!(image::open(&file).unwrap().to_rgb8(), before);
}

#[test]
fn a_conversation_draws_an_answer_without_a_place_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_generate"))
        .current_dir(folder.path())
        .args(["--image", &picture("shapes.png")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = b"How many objects are there?\n/draw same.png\n";
    child.stdin.take().unwrap().write_all(lines).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("no boxes, so"), "{told}");
    assert!(folder.path().join("same.png").exists());
}
