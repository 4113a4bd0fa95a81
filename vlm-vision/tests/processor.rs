//! `PlainProcessor` against transformers' torchvision backend (`reference/image_processors.py`).

mod common;
mod crc;

use common::{Case, Outcome, cases, picture};
use image::RgbImage;
use serde::Deserialize;
use serde_json::{Map, Value};
use vlm_core::{Error, ImageLayout, ImageProcessor, ProcessedImage, Size};
use vlm_vision::processor::{PlainProcessor, size_of};

#[derive(Deserialize)]
struct Expected {
    size: [usize; 2],
    bytes_crc: u32,
    values_crc: u32,
    bytes: Option<String>,
    values: Option<String>,
}

fn run(case: &Case<Expected>) -> Result<(RgbImage, ProcessedImage), Error> {
    let processor = PlainProcessor::from_keys(case.keys.clone(), None)?;
    let image = picture(&case.picture);
    let processed = processor.process(&image)?;
    assert_eq!(
        processor.output_size(size_of(&image))?,
        processed.layout.crop
    );
    Ok((processor.picture(&image)?, processed))
}

fn little_endian(values: &[f32]) -> impl Iterator<Item = u8> {
    values.iter().flat_map(|value| value.to_le_bytes())
}

fn hexadecimal(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes
        .into_iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What is wrong with a result, if anything.
fn difference(expected: &Expected, found: &(RgbImage, ProcessedImage)) -> Option<String> {
    let (bytes, values) = (found.0.as_raw(), &found.1.pixels);
    let [height, width] = expected.size;
    if found.1.layout.crop != Size::new(height, width) {
        return Some(format!("size {:?}", found.1.layout.crop));
    }
    if crc::crc32(bytes.iter().copied()) != expected.bytes_crc {
        let bytes = expected
            .bytes
            .as_ref()
            .map(|_| hexadecimal(bytes.iter().copied()));
        return Some(format!("bytes {bytes:?} instead of {:?}", expected.bytes));
    }
    if crc::crc32(little_endian(values)) != expected.values_crc {
        let values = expected
            .values
            .as_ref()
            .map(|_| hexadecimal(little_endian(values)));
        return Some(format!(
            "values {values:?} instead of {:?}",
            expected.values
        ));
    }
    None
}

#[test]
fn pixels_are_those_of_the_reference() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases::<Expected>("processor") {
        let Outcome::Result(expected) = &case.outcome else {
            continue;
        };
        count += 1;
        let what = match run(&case) {
            Ok(found) => difference(expected, &found),
            Err(error) => Some(error.to_string()),
        };
        if let Some(what) = what {
            wrong.push(format!(
                "{} {}: {what}",
                case.picture,
                Value::Object(case.keys)
            ));
        }
    }
    assert!(count > 120, "{count}");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ: {wrong:#?}",
        wrong.len()
    );
}

#[test]
fn what_the_reference_refuses_is_an_error() {
    for case in cases::<Expected>("processor") {
        let Outcome::Raises { raises } = &case.outcome else {
            continue;
        };
        let error = run(&case).expect_err(raises).to_string();
        assert!(
            error.starts_with("key `") || error.starts_with("image of height"),
            "{error}"
        );
    }
}

#[test]
fn the_keys_are_written_as_they_were_read() {
    for case in cases::<Expected>("processor") {
        let keys = Value::Object(case.keys);
        let Ok(processor) = serde_json::from_value::<PlainProcessor>(keys.clone()) else {
            continue;
        };
        let written = serde_json::to_value(&processor).unwrap();
        assert_eq!(written, keys);
        assert_eq!(
            serde_json::from_value::<PlainProcessor>(written).unwrap(),
            processor
        );
    }
}

#[test]
fn a_plain_picture_is_one_crop() {
    let processor = PlainProcessor::from_keys(
        Map::new(),
        Some(vlm_vision::processor::ProcessorClass::Clip),
    )
    .unwrap();
    let layout = processor.process(&picture("30x40")).unwrap().layout;
    let expected = ImageLayout {
        original: Size::new(30, 40),
        crop: Size::new(224, 224),
        tiles: Size::new(1, 1),
        crops: 1,
    };
    assert_eq!(layout, expected);
}

#[test]
fn no_shape_makes_it_panic() {
    let keys = [
        r#"{"image_processor_type": "CLIPImageProcessor", "size": 28, "crop_size": 28}"#,
        r#"{"image_processor_type": "CLIPImageProcessor", "size": {"max_height": 9, "max_width": 9}, "do_center_crop": false}"#,
        r#"{"image_processor_type": "LlavaImageProcessor", "size": 28, "crop_size": 28, "do_pad": true}"#,
        r#"{"image_processor_type": "SiglipImageProcessor", "size": 28}"#,
        r#"{"image_processor_type": "SiglipImageProcessor", "size": 28, "do_pad": true, "pad_size": 900000}"#,
        r#"{"image_processor_type": "CLIPImageProcessor", "do_resize": false, "crop_size": [1000000, 2]}"#,
    ];
    let shapes = [
        (0, 0),
        (0, 5),
        (1, 1),
        (1, 1000),
        (1000, 1),
        (3000, 2),
        (2, 3000),
        (1, 30_000),
    ];
    for keys in keys {
        let processor: PlainProcessor = serde_json::from_str(keys).unwrap();
        for (height, width) in shapes {
            let planned = processor.output_size(Size::new(height, width));
            let processed = processor.process(&RgbImage::new(width as u32, height as u32));
            match (planned, processed) {
                (Ok(planned), Ok(processed)) => assert_eq!(planned, processed.layout.crop),
                (Err(planned), Err(processed)) => {
                    assert_eq!(planned.to_string(), processed.to_string())
                }
                (planned, processed) => panic!("{height} x {width}: {planned:?}, {processed:?}"),
            }
        }
    }
}
