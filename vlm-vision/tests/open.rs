//! Decoded files against those of transformers' `load_image` (`reference/image_processors.py`).

mod crc;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use vlm_vision::open::{decode, open};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files")
}

#[test]
fn every_file_has_the_pixels_of_the_reference() {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert!(expected.len() > 80, "{}", expected.len());
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        let image = open(folder().join(name)).unwrap();
        let crc = crc::crc32(image.as_raw().iter().copied());
        let found = json!({ "size": [image.height(), image.width()], "crc": crc });
        if found != *expected {
            wrong.push(format!("{name}: {found} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn truncated_files_are_errors() {
    for name in [
        "rgb.jpg",
        "420_progressive.jpg",
        "cmyk.jpg",
        "rgb.png",
        "rgb.webp",
        "rgb.gif",
        "rgb.bmp",
        "rgb.tif",
    ] {
        let bytes = std::fs::read(folder().join(name)).unwrap();
        for length in [bytes.len() / 10, bytes.len() / 2, bytes.len() * 9 / 10] {
            let error = decode(&bytes[..length], name).unwrap_err().to_string();
            assert!(error.starts_with(&format!("image {name}: ")), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
    let jpeg = std::fs::read(folder().join("rgb.jpg")).unwrap();
    let error = decode(&jpeg[..jpeg.len() - 1], "rgb.jpg")
        .unwrap_err()
        .to_string();
    assert_eq!(error, "image rgb.jpg: the file is truncated");
}

#[test]
fn what_is_no_picture_is_named() {
    let error = decode(b"", "nothing").unwrap_err().to_string();
    assert_eq!(error, "image nothing: the file is empty");
    let error = decode(b"%PDF-1.7 and so on", "paper.pdf")
        .unwrap_err()
        .to_string();
    let expected = "image paper.pdf: not a PNG, JPEG, WebP, GIF, BMP or TIFF picture";
    assert_eq!(error, expected);
    let error = open("no/such/file.png").unwrap_err().to_string();
    assert!(error.starts_with("no/such/file.png: "), "{error}");
}

#[test]
fn damaged_jpegs_are_errors_and_never_panics() {
    let error = decode(b"\xff\xd8\xff\xd9", "a.jpg")
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("image a.jpg: "), "{error}");
    let bytes = std::fs::read(folder().join("420.jpg")).unwrap();
    for position in 2..bytes.len().min(700) {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x55;
        let _ = decode(&bytes, "damaged.jpg");
    }
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused() {
    let mut jpeg = std::fs::read(folder().join("grey.jpg")).unwrap();
    let frame = jpeg
        .windows(2)
        .position(|marker| marker == [0xff, 0xc0])
        .unwrap();
    jpeg[frame + 5..frame + 9].fill(0xf0);
    let error = decode(&jpeg, "huge.jpg").unwrap_err().to_string();
    assert_eq!(
        error,
        "image huge.jpg: 61680 x 61680 is more than 178956970 pixels"
    );
}
