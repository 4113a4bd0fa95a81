//! The keys of [`TilingProcessor`](super::TilingProcessor).

use serde_json::Value;
use vlm_core::{ConfigReader, Error};

use super::plain_keys::{WITHOUT_EFFECT, normalize};
use super::resample::Resample;
use super::size_rule::SizeRule;
use super::tiling::{Steps, Target};

/// Keys that say nothing about a single picture here: the reference reads no crop and no canvas, all crops
/// have one size without padding, and rows and columns are part of every layout.
const WITHOUT_EFFECT_ON_TILES: &[&str] = &[
    "crop_size",
    "do_center_crop",
    "do_pad",
    "pad_size",
    "return_row_col_info",
    "video_sampling",
];

pub(super) fn read(mut keys: ConfigReader, class: Option<&str>) -> Result<Steps, Error> {
    if let Some(name) = class {
        let class = name
            .strip_suffix("Fast")
            .or(name.strip_suffix("Pil"))
            .unwrap_or(name);
        if !["Idefics3ImageProcessor", "SmolVLMImageProcessor"].contains(&class) {
            let known = "expected Idefics3ImageProcessor or SmolVLMImageProcessor";
            return Err(keys.error("image_processor_type", format!("{known}, found {name}")));
        }
    }
    keys.ignore(WITHOUT_EFFECT);
    keys.ignore(WITHOUT_EFFECT_ON_TILES);
    keys.get::<bool>("do_convert_rgb")?;
    keys.only_absent("size_divisor", "padding to multiples is not supported here")?;
    let target = target(&mut keys)?;
    let steps = Steps {
        resize: keys.or("do_resize", true)?.then_some(target),
        resample: Resample::from_code(keys.or("resample", Resample::Lanczos.code())?)?,
        split: keys.or("do_image_splitting", true)?,
        tile: tile(&mut keys)?,
        normalize: normalize(&mut keys, [0.5; 3], [0.5; 3])?,
    };
    keys.finish()?;
    Ok(steps)
}

fn target(keys: &mut ConfigReader) -> Result<Target, Error> {
    let square = keys.or("default_to_square", true)?;
    let has_edge = |size: &Value| size.get("longest_edge").is_some_and(|edge| !edge.is_null());
    if keys.peek("size").is_some_and(has_edge)
        && let Some(mut size) = keys.object("size")?
    {
        let edge = size.size("longest_edge", 1)?;
        // The reference reads it and does not use it.
        size.get::<usize>("shortest_edge")?;
        size.finish()?;
        return Ok(Target::LongestEdge(edge));
    }
    match SizeRule::read(keys, "size", square)? {
        None => Ok(Target::LongestEdge(4 * 364)),
        Some(SizeRule::Exact(size)) => Ok(Target::Exact(size)),
        Some(_) => Err(keys.error("size", "expected longest_edge, or height and width")),
    }
}

fn tile(keys: &mut ConfigReader) -> Result<usize, Error> {
    let wrong = "expected an object with longest_edge";
    if keys
        .peek("max_image_size")
        .is_some_and(|size| !size.is_object())
    {
        return Err(keys.error("max_image_size", wrong));
    }
    let Some(mut size) = keys.object("max_image_size")? else {
        return Ok(364);
    };
    if !size.has("longest_edge") {
        return Err(keys.error("max_image_size", wrong));
    }
    let tile = size.size("longest_edge", 364)?;
    size.finish()?;
    Ok(tile)
}

#[cfg(test)]
mod tests {
    use super::super::TilingProcessor;
    use serde_json::{Value, json};

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        for (keys, expected) in [
            (json!({ "do_flip": true }), "key `do_flip`: "),
            (
                json!({ "size": { "shortest_edge": 9 } }),
                "key `size`: expected longest_edge",
            ),
            (
                json!({ "size": { "longest_edge": 0 } }),
                "key `size.longest_edge`: expected a whole",
            ),
            (
                json!({ "size": { "longest_edge": 9, "height": 3 } }),
                "key `size.height`: not a key",
            ),
            (
                json!({ "max_image_size": 364 }),
                "key `max_image_size`: expected an object",
            ),
            (
                json!({ "max_image_size": { "height": 9 } }),
                "key `max_image_size`: expected an",
            ),
            (
                json!({ "max_image_size": { "longest_edge": 0 } }),
                "key `max_image_size.longest_edge`",
            ),
            (
                json!({ "do_image_splitting": 1 }),
                "key `do_image_splitting`: ",
            ),
            (json!({ "resample": 4 }), "key `resample`: "),
            (
                json!({ "image_processor_type": "Idefics2ImageProcessor" }),
                "key `image_processor_type`: expected Idefics3ImageProcessor",
            ),
        ] {
            let error = serde_json::from_value::<TilingProcessor>(keys)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_of_the_hub_is_read_and_written_as_it_is() {
        let keys = json!({
            "do_convert_rgb": true, "do_image_splitting": true, "do_normalize": true, "do_pad": true,
            "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "SmolVLMImageProcessorFast", "image_std": [0.5, 0.5, 0.5],
            "max_image_size": { "longest_edge": 512 }, "processor_class": "SmolVLMProcessor",
            "resample": 1, "rescale_factor": 0.00392156862745098, "size": { "longest_edge": 2048 },
            "video_sampling": { "fps": 1, "max_frames": 64, "video_size": { "longest_edge": 512 } },
        });
        let processor: TilingProcessor = serde_json::from_value(keys.clone()).unwrap();
        assert_eq!(serde_json::to_value(processor).unwrap(), keys as Value);
    }
}
