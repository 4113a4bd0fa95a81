//! What the reference scripts wrote about image processors: cases of a picture, keys and an outcome.
#![allow(dead_code)] // each test file uses its part

use std::path::Path;

use image::{Rgb, RgbImage};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use vlm_core::Error;
use vlm_vision::open::open;

/// A picture and the keys of a processor's file, with what the reference makes of them.
#[derive(Deserialize)]
pub struct Case<E> {
    pub picture: String,
    pub keys: Map<String, Value>,
    #[serde(flatten)]
    pub outcome: Outcome<E>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Outcome<E> {
    Result(E),
    Raises { raises: String },
}

/// The cases of `tests/fixtures/<folder>/cases.json`.
pub fn cases<E: DeserializeOwned>(folder: &str) -> Vec<Case<E>> {
    #[derive(Deserialize)]
    struct Fixture<E> {
        cases: Vec<Case<E>>,
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = std::fs::read_to_string(fixtures.join(folder).join("cases.json")).unwrap();
    serde_json::from_str::<Fixture<E>>(&text).unwrap().cases
}

/// A photograph by its name, or a synthetic picture by its size.
pub fn picture(name: &str) -> RgbImage {
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

/// Compares each case of a folder, more than `least` of which have results, with what `run` makes of it.
pub fn compare<E: DeserializeOwned + PartialEq + std::fmt::Debug>(
    folder: &str,
    least: usize,
    run: impl Fn(&Case<E>) -> Result<E, Error>,
) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases::<E>(folder) {
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
    assert!(count > least, "{count}");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ: {wrong:#?}",
        wrong.len()
    );
}
