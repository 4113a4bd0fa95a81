//! `ShrinkProcessor` against transformers' torchvision backend (`reference/shrinking.py`).

mod common;
mod crc;

use common::{Case, compare, picture};
use image::RgbImage;
use serde::Deserialize;
use vlm_core::{Error, ImageProcessor, Size};
use vlm_vision::processor::{ShrinkProcessor, size_of};

#[derive(Debug, Deserialize, PartialEq)]
struct Expected {
    size: [usize; 2],
    own: [usize; 2],
    bytes_crc: u32,
    values_crc: u32,
}

fn run(case: &Case<Expected>) -> Result<Expected, Error> {
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
    compare("shrinking", 90, run);
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
