//! `TilingProcessor` against transformers' torchvision backend (`reference/tiling.py`).

mod common;
mod crc;

use common::{Case, compare, picture};
use image::RgbImage;
use serde::Deserialize;
use vlm_core::{Error, ImageProcessor, Size};
use vlm_vision::processor::{TilingProcessor, size_of};

#[derive(Debug, Deserialize, PartialEq)]
struct Expected {
    crops: usize,
    rows: usize,
    columns: usize,
    side: usize,
    bytes_crc: u32,
    values_crc: u32,
}

fn run(case: &Case<Expected>) -> Result<Expected, Error> {
    let processor = TilingProcessor::from_keys(case.keys.clone())?;
    let image = picture(&case.picture);
    let processed = processor.process(&image)?;
    let layout = processor.layout(size_of(&image))?;
    assert_eq!(processed.layout, layout);
    let crops = processor.pictures(&image)?;
    let bytes = crops.iter().flat_map(|crop| crop.as_raw()).copied();
    let values = processed.pixels.iter().flat_map(|v| v.to_le_bytes());
    // The reference tells one crop by no rows and no columns.
    let (rows, columns) = match layout.crops {
        1 => (0, 0),
        _ => (layout.tiles.height, layout.tiles.width),
    };
    assert_eq!(
        (layout.crops, layout.crop.height),
        (crops.len(), layout.crop.width)
    );
    Ok(Expected {
        crops: layout.crops,
        rows,
        columns,
        side: layout.crop.width,
        bytes_crc: crc::crc32(bytes),
        values_crc: crc::crc32(values),
    })
}

#[test]
fn crops_are_those_of_the_reference() {
    compare("tiling", 100, run);
}

#[test]
fn no_shape_makes_it_panic() {
    let keys = [
        r#"{"size": {"longest_edge": 60}, "max_image_size": {"longest_edge": 28}}"#,
        r#"{"size": {"longest_edge": 16777216}, "max_image_size": {"longest_edge": 1}}"#,
        r#"{"size": {"longest_edge": 60}, "max_image_size": {"longest_edge": 16777216}}"#,
        r#"{"do_resize": false, "max_image_size": {"longest_edge": 49}}"#,
        r#"{"do_resize": false, "do_image_splitting": false, "max_image_size": {"longest_edge": 3}}"#,
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
        let processor: TilingProcessor = serde_json::from_str(keys).unwrap();
        for (height, width) in shapes {
            let planned = processor.layout(Size::new(height, width));
            if planned.as_ref().is_ok_and(|layout| layout.crops > 10_000) {
                continue; // two million tiles of one pixel
            }
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
