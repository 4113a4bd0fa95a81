//! The keys of [`PlainProcessor`](super::PlainProcessor).

use image::Rgb;
use serde::Deserialize;
use serde_json::{Map, Value};
use vlm_core::{ConfigReader, Error, Size};

use super::class::ProcessorClass;
use super::normalize::Normalize;
use super::plain::Steps;
use super::resample::Resample;
use super::size_rule::SizeRule;

/// Keys that change nothing about the numbers that a decoded picture becomes.
///
/// `do_convert_rgb` is among the keys that are read, and is without effect: pictures are RGB here.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "device",
    "disable_grouping",
    "feature_extractor_type",
    "image_processor_type",
    "image_seq_length",
    "input_data_format",
    "processor_class",
    "return_tensors",
];

/// The name of the class, if the keys give one.
pub(super) fn class_name(keys: &Map<String, Value>) -> Result<Option<&str>, Error> {
    for key in ["image_processor_type", "feature_extractor_type"] {
        match keys.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) => return Ok(Some(name)),
            Some(other) => return Err(Error::key(key, format!("expected a name, found {other}"))),
        }
    }
    Ok(None)
}

pub(super) fn read(mut keys: ConfigReader, class: ProcessorClass) -> Result<Steps, Error> {
    let defaults = class.defaults();
    keys.ignore(WITHOUT_EFFECT);
    keys.get::<bool>("do_convert_rgb")?;
    keys.only_absent("size_divisor", "padding to multiples is not supported here")?;
    let resize = resize(&mut keys, class)?;
    let crop = crop(&mut keys, defaults.crop)?;
    let (square, canvas) = pad(&mut keys, class)?;
    let normalize = normalize(&mut keys, defaults.mean, defaults.std)?;
    keys.finish()?;
    Ok(Steps {
        square,
        resize,
        crop,
        normalize,
        canvas,
    })
}

fn resize(
    keys: &mut ConfigReader,
    class: ProcessorClass,
) -> Result<Option<(SizeRule, Resample)>, Error> {
    let default = class.defaults().size;
    let to_square = keys.or("default_to_square", false)?;
    let mut size = SizeRule::read(keys, "size", to_square)?.unwrap_or(default);
    if keys.or("use_square_size", false)? {
        // The reference overwrites `size` with the default of the class, made square.
        size = match (class, default) {
            (ProcessorClass::Clip, SizeRule::ShortestEdge(edge)) => {
                SizeRule::Exact(Size::new(edge, edge))
            }
            _ => return Err(keys.error("use_square_size", "only CLIPImageProcessor has this key")),
        };
    }
    let resample = Resample::from_code(keys.or("resample", Resample::Bicubic.code())?)?;
    Ok(keys.or("do_resize", true)?.then_some((size, resample)))
}

fn crop(keys: &mut ConfigReader, default: Option<Size>) -> Result<Option<Size>, Error> {
    let size = SizeRule::read(keys, "crop_size", true)?;
    if !keys.or("do_center_crop", default.is_some())? {
        return Ok(None);
    }
    match (size, default) {
        (Some(SizeRule::Exact(size)), _) | (None, Some(size)) => Ok(Some(size)),
        _ => Err(keys.error("crop_size", "do_center_crop needs a height and a width")),
    }
}

/// The colour of the square around the picture, and the canvas for its planes.
fn pad(
    keys: &mut ConfigReader,
    class: ProcessorClass,
) -> Result<(Option<Rgb<u8>>, Option<Size>), Error> {
    let canvas = SizeRule::read(keys, "pad_size", true)?;
    if !keys.or("do_pad", false)? {
        return Ok((None, None));
    }
    if class == ProcessorClass::Llava {
        let mean = match keys.peek("image_mean") {
            None => class.defaults().mean,
            Some(mean) => <[f64; 3]>::deserialize(mean)
                .map_err(|_| keys.error("image_mean", "do_pad needs three numbers"))?,
        };
        return Ok((Some(background(mean)?), None));
    }
    match canvas {
        Some(SizeRule::Exact(size)) => Ok((None, Some(size))),
        Some(_) => Err(keys.error("pad_size", "expected a height and a width")),
        // Without a size, the reference pads to the largest picture of the batch, as `ImageBatch` does.
        None => Ok((None, None)),
    }
}

/// The mean as a colour, cut off to whole numbers.
fn background(mean: [f64; 3]) -> Result<Rgb<u8>, Error> {
    let colour = mean.map(|mean| (mean * 255.0).trunc());
    match colour.iter().all(|value| (0.0..=255.0).contains(value)) {
        true => Ok(Rgb(colour.map(|value| value as u8))),
        false => Err(Error::key("image_mean", "do_pad needs numbers from 0 to 1")),
    }
}

/// Reads the step from bytes to numbers; `mean` and `std` are the class's defaults.
pub(super) fn normalize(
    keys: &mut ConfigReader,
    mean: [f64; 3],
    std: [f64; 3],
) -> Result<Normalize, Error> {
    let mean = channels(keys, "image_mean")?.unwrap_or(mean);
    let std = channels(keys, "image_std")?.unwrap_or(std);
    let factor = keys.or("rescale_factor", 1.0 / 255.0)?;
    if !std.iter().all(|&std| can_divide(std)) {
        return Err(keys.error("image_std", "expected numbers other than 0"));
    }
    if !can_divide(factor) {
        return Err(keys.error("rescale_factor", "expected a number other than 0"));
    }
    let rescale = keys.or("do_rescale", true)?;
    Ok(match (rescale, keys.or("do_normalize", true)?) {
        (true, true) => Normalize::rescale_and_standardize(factor, mean, std),
        (true, false) => Normalize::rescale(factor),
        (false, true) => Normalize::standardize(mean, std),
        (false, false) => Normalize::identity(),
    })
}

/// Whether neither the number nor its reciprocal leaves single precision.
fn can_divide(number: f64) -> bool {
    (number as f32).is_normal() && ((1.0 / number) as f32).is_normal()
}

/// One number for all the channels, or one for each.
fn channels(keys: &mut ConfigReader, key: &str) -> Result<Option<[f64; 3]>, Error> {
    match keys.peek(key) {
        None => Ok(None),
        Some(Value::Number(_)) => Ok(keys.get::<f64>(key)?.map(|number| [number; 3])),
        Some(_) => match keys.get::<Vec<f64>>(key)?.as_deref() {
            Some(&[number]) => Ok(Some([number; 3])),
            Some(&[red, green, blue]) => Ok(Some([red, green, blue])),
            _ => Err(keys.error(key, "expected one number, or three")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::PlainProcessor;
    use super::*;
    use serde_json::json;

    fn error(class: &str, mut keys: Value) -> String {
        keys["image_processor_type"] = class.into();
        serde_json::from_value::<PlainProcessor>(keys)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = error("CLIPImageProcessor", json!({ "do_flip": true }));
        assert!(error.starts_with("key `do_flip`: "), "{error}");
    }

    #[test]
    fn values_of_the_wrong_type_are_refused_by_name() {
        for (key, value) in [
            ("do_resize", json!(1)),
            ("do_convert_rgb", json!("yes")),
            ("resample", json!("bicubic")),
            ("resample", json!(-1)),
            ("image_mean", json!([0.5, 0.5])),
            ("image_mean", json!("grey")),
            ("image_std", json!([0.5, 0.5, null])),
            ("rescale_factor", json!([1])),
            ("crop_size", json!(true)),
            ("default_to_square", json!(0)),
        ] {
            let mut keys = Map::new();
            keys.insert(key.to_owned(), value);
            let error = error("CLIPImageProcessor", Value::Object(keys));
            assert!(error.starts_with(&format!("key `{key}`: ")), "{error}");
        }
    }

    #[test]
    fn values_without_sense_are_refused() {
        for (class, keys, expected) in [
            (
                "CLIP",
                json!({ "image_std": [0.5, 0.0, 0.5] }),
                "key `image_std`: expected numbers",
            ),
            (
                "CLIP",
                json!({ "image_std": 1e-50 }),
                "key `image_std`: expected numbers",
            ),
            (
                "CLIP",
                json!({ "rescale_factor": 0 }),
                "key `rescale_factor`: expected a number",
            ),
            (
                "CLIP",
                json!({ "size": { "height": 0, "width": 2 } }),
                "key `size.height`: ",
            ),
            (
                "CLIP",
                json!({ "crop_size": 0 }),
                "key `crop_size`: expected a whole number",
            ),
            (
                "CLIP",
                json!({ "crop_size": { "shortest_edge": 2 } }),
                "key `crop_size`: do_center",
            ),
            (
                "CLIP",
                json!({ "size_divisor": 14 }),
                "key `size_divisor`: padding to multiples",
            ),
            (
                "Siglip",
                json!({ "do_center_crop": true }),
                "key `crop_size`: do_center_crop needs",
            ),
            (
                "Siglip",
                json!({ "use_square_size": true }),
                "key `use_square_size`: only CLIP",
            ),
            (
                "Llava",
                json!({ "do_pad": true, "image_mean": [0.5] }),
                "key `image_mean`: do_pad",
            ),
            (
                "Llava",
                json!({ "do_pad": true, "image_mean": [0, 0, 2] }),
                "key `image_mean`: do_pad",
            ),
        ] {
            let error = error(&format!("{class}ImageProcessor"), keys);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_class_has_to_be_known() {
        let read = |keys| serde_json::from_value::<PlainProcessor>(keys);
        let error = read(json!({})).unwrap_err().to_string();
        assert_eq!(error, "key `image_processor_type`: the key is missing");
        let error = read(json!({ "image_processor_type": 3 }))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "key `image_processor_type`: expected a name, found 3"
        );
        let error = read(json!({ "image_processor_type": "ViTImageProcessor" })).unwrap_err();
        assert!(
            error.to_string().ends_with("found ViTImageProcessor"),
            "{error}"
        );
    }

    #[test]
    fn the_background_is_cut_off_to_whole_numbers() {
        let colour = background(ProcessorClass::Llava.defaults().mean).unwrap();
        assert_eq!(colour, Rgb([122, 116, 104]));
    }
}
