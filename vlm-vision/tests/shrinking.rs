//! `ShrinkProcessor` against transformers' torchvision backend (`reference/shrinking.py`).

mod crc;

use std::path::Path;

use image::{Rgb, RgbImage};
use serde::Deserialize;
use serde_json::{Map, Value};
use vlm_core::{Error, ImageProcessor, Size};
use vlm_vision::open::open;
use vlm_vision::processor::{ShrinkProcessor, size_of};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    picture: String,
    keys: Map<String, Value>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Result(Expected),
    Raises { raises: String },
}

#[derive(Debug, Deserialize, PartialEq)]
struct Expected {
    size: [usize; 2],
    own: [usize; 2],
    bytes_crc: u32,
    values_crc: u32,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shrinking/cases.json");
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    fixture.cases
}

/// A photograph by its name, or a synthetic picture by its size.
fn picture(name: &str) -> RgbImage {
    let sides = name
        .split_once('x')
        .map(|(height, width)| (height.parse(), width.parse()));
    if let Some((Ok(height), Ok(width))) = sides {
        return RgbImage::from_fn(width, height, |x, y| {
            Rgb([0, 50, 100].map(|offset| (x * x * 3 + y * 7 + x * y + offset) as u8))
        });
    }
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vlm/tests/fixtures/images");
    open(images.join(format!("{name}.png"))).unwrap()
}

fn run(case: &Case) -> Result<Expected, Error> {
    let processor = ShrinkProcessor::from_keys(case.keys.clone())?;
    let image = picture(&case.picture);
    let processed = processor.process(&image)?;
    let layout = processor.layout(size_of(&image))?;
    assert_eq!(processed.layout, layout);
    let bytes = processor.picture(&image)?;
    assert_eq!(size_of(&bytes), layout.crop);
    let own = processor.resized(size_of(&image));
    let values = processed.pixels.iter().flat_map(|v| v.to_le_bytes());
    Ok(Expected {
        size: [layout.crop.height, layout.crop.width],
        own: [own.height, own.width],
        bytes_crc: crc::crc32(bytes.as_raw().iter().copied()),
        values_crc: crc::crc32(values),
    })
}

#[test]
fn pixels_are_those_of_the_reference() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases() {
        let name = format!("{} {}", case.picture, Value::Object(case.keys.clone()));
        match (&case.outcome, run(&case)) {
            (Outcome::Result(expected), Ok(found)) => {
                count += 1;
                if found != *expected {
                    wrong.push(format!("{name}: {found:?} instead of {expected:?}"));
                }
            }
            (Outcome::Result(_), Err(error)) => wrong.push(format!("{name}: {error}")),
            (Outcome::Raises { raises }, Ok(_)) => wrong.push(format!("{name}: {raises}")),
            (Outcome::Raises { .. }, Err(error)) => {
                let error = error.to_string();
                assert!(
                    error.starts_with("key `") || error.starts_with("image of height"),
                    "{error}"
                );
            }
        }
    }
    assert!(count > 90, "{count}");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ: {wrong:#?}",
        wrong.len()
    );
}

#[test]
fn no_shape_makes_it_panic() {
    let keys = [
        r#"{}"#,
        r#"{"size": 60, "patch_size": 7}"#,
        r#"{"do_resize": false, "do_pad": false, "patch_size": 1}"#,
        r#"{"size": [18446744073709551615, 18446744073709551615], "patch_size": 18446744073709551615}"#,
    ];
    let shapes = [
        (0, 0),
        (0, 5),
        (5, 0),
        (1, 1),
        (49, 1),
        (1, 3000),
        (3000, 2),
        (1, 30_000),
    ];
    for keys in keys {
        let processor: ShrinkProcessor = serde_json::from_str(keys).unwrap();
        for (height, width) in shapes {
            let planned = processor.layout(Size::new(height, width));
            let processed = processor.process(&RgbImage::new(width as u32, height as u32));
            match (planned, processed) {
                (Ok(planned), Ok(processed)) => assert_eq!(planned, processed.layout),
                (Err(planned), Err(processed)) => {
                    assert_eq!(planned.to_string(), processed.to_string());
                }
                (planned, processed) => panic!("{height} x {width}: {planned:?}, {processed:?}"),
            }
        }
    }
}
