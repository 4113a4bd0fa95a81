//! `generate --draw`: boxes of an answer, or of one that was given before, on the picture.

use std::process::{Command, Output};

use image::RgbImage;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vlm/tests/fixtures");

fn generate(model: &str, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_generate"))
        .args(["--model", &format!("{FIXTURES}/{model}")])
        .args(["--image", &format!("{FIXTURES}/images/astronaut.png")])
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    output
}

fn original() -> RgbImage {
    vlm::open_image(format!("{FIXTURES}/images/astronaut.png")).unwrap()
}

#[test]
fn an_earlier_answer_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("boxes.png");
    let answer = "<phrase> A face</phrase><object><patch_index_0264><patch_index_0759></object>";
    let output = generate(
        "kosmos2/grounding",
        &["--post-process", answer, "--draw", file.to_str().unwrap()],
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.trim_end().ends_with("boxes.png: 1 box"), "{said}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (before, after) = (original(), vlm::open_image(&file).unwrap());
    assert_eq!(after.dimensions(), before.dimensions());
    // Colour stands where the JSON says.
    let edge = |index: usize, side: u32| {
        let share = result["entities"][0]["boxes"][0][index].as_f64().unwrap();
        (share * f64::from(side)).round() as u32
    };
    let (width, height) = before.dimensions();
    let [x0, y0, x1, y1] = [
        edge(0, width),
        edge(1, height),
        edge(2, width),
        edge(3, height),
    ];
    let line = after.get_pixel(x0, (y0 + y1) / 2);
    for (x, y) in [(x1 - 1, y0 + 20), ((x0 + x1) / 2, y1 - 1), (x1 - 1, y1 - 1)] {
        assert_eq!(after.get_pixel(x, y), line, "{x}, {y}");
    }
    let middle = ((x0 + x1) / 2, (y0 + y1) / 2);
    assert_eq!(
        after.get_pixel(middle.0, middle.1),
        before.get_pixel(middle.0, middle.1)
    );
}

#[test]
fn an_answer_without_boxes_leaves_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("same.png");
    let path = file.to_str().unwrap();
    let output = generate(
        "kosmos2/grounding",
        &["--draw", path, "--max-new-tokens", "4", "What is it?"],
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("no boxes") && said.contains("same.png"),
        "{said}"
    );
    assert!(!output.stdout.is_empty());
    assert_eq!(vlm::open_image(&file).unwrap(), original());
}

#[test]
fn a_fuyu_points_in_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("places.png");
    let answer = "<box>20, 40, 60, 120</box> <point>75, 100</point>";
    let path = file.to_str().unwrap();
    let output = generate("fuyu/flat", &["--post-process", answer, "--draw", path]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.trim_end().ends_with("places.png: 1 box, 1 point"),
        "{said}"
    );
    let after = vlm::open_image(&file).unwrap();
    let line = after.get_pixel(60, 59);
    for (x, y) in [(119, 20), (119, 59), (40, 59), (40, 40)] {
        assert_eq!(after.get_pixel(x, y), line, "{x}, {y}");
    }
    assert_ne!(after.get_pixel(75, 100), original().get_pixel(75, 100));
}
