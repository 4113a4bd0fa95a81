//! The keys of [`ShrinkProcessor`](super::ShrinkProcessor).

use vlm_core::{ConfigReader, Error, Size};

use super::class::family;
use super::plain_keys::{WITHOUT_EFFECT, normalize};
use super::resample::Resample;
use super::shrink::Steps;
use super::size_rule::SizeRule;

/// Keys that the reference's class takes and does not use: nothing is cut out, and `size` is the canvas.
const WITHOUT_EFFECT_ON_PATCHES: &[&str] = &["crop_size", "do_center_crop", "pad_size"];

pub(super) fn read(mut keys: ConfigReader, class: Option<&str>) -> Result<Steps, Error> {
    if let Some(name) = class
        && family(name) != Some("Fuyu")
    {
        let message = format!("expected FuyuImageProcessor, found {name}");
        return Err(keys.error("image_processor_type", message));
    }
    keys.ignore(WITHOUT_EFFECT);
    keys.ignore(WITHOUT_EFFECT_ON_PATCHES);
    keys.get::<bool>("do_convert_rgb")?;
    keys.only_absent("size_divisor", "padding to multiples is not supported here")?;
    keys.only("padding_mode", "constant".to_owned())?;
    let square = keys.or("default_to_square", true)?;
    let size = sides(&mut keys, "size", square)?.unwrap_or(Size::new(1080, 1920));
    let resample = Resample::from_code(keys.or("resample", Resample::Bilinear.code())?)?;
    let padding = padding(&mut keys)?;
    let steps = Steps {
        size,
        resize: keys.or("do_resize", true)?.then_some(resample),
        patch_size: patch_size(&mut keys)?,
        padding: keys.or("do_pad", true)?.then_some(padding),
        normalize: normalize(&mut keys, [0.5; 3], [0.5; 3])?,
    };
    keys.finish()?;
    Ok(steps)
}

fn sides(keys: &mut ConfigReader, key: &str, square: bool) -> Result<Option<Size>, Error> {
    match SizeRule::read(keys, key, square)? {
        None => Ok(None),
        Some(SizeRule::Exact(size)) => Ok(Some(size)),
        Some(_) => Err(keys.error(key, "expected height and width")),
    }
}

fn patch_size(keys: &mut ConfigReader) -> Result<usize, Error> {
    match sides(keys, "patch_size", true)? {
        None => Ok(30),
        Some(Size { height, width }) if height == width => Ok(height),
        Some(Size { height, width }) => {
            let message = format!("only squares are supported, found {height} x {width}");
            Err(keys.error("patch_size", message))
        }
    }
}

/// The byte with which patches are filled up; a fraction is cut off, as torch does.
fn padding(keys: &mut ConfigReader) -> Result<u8, Error> {
    let value = keys.or("padding_value", 1.0_f64)?;
    match (0.0..256.0).contains(&value) {
        true => Ok(value as u8),
        false => {
            let message = format!("expected a number from 0 to 255, found {value}");
            Err(keys.error("padding_value", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ShrinkProcessor;
    use serde_json::json;

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        for (keys, expected) in [
            (json!({ "do_flip": true }), "key `do_flip`: "),
            (
                json!({ "image_processor_type": "CLIPImageProcessor" }),
                "key `image_processor_type`: expected FuyuImageProcessor, found CLIP",
            ),
            (
                json!({ "size": { "shortest_edge": 9 } }),
                "key `size`: expected height and width",
            ),
            (
                json!({ "size": 60, "default_to_square": false }),
                "key `size`: expected height and width",
            ),
            (
                json!({ "patch_size": { "height": 10, "width": 20 } }),
                "key `patch_size`: only squares are supported, found 10 x 20",
            ),
            (
                json!({ "patch_size": 0 }),
                "key `patch_size`: expected a whole",
            ),
            (
                json!({ "padding_value": 256 }),
                "key `padding_value`: expected a number from 0",
            ),
            (
                json!({ "padding_mode": "reflect" }),
                "key `padding_mode`: only \"constant\"",
            ),
            (
                json!({ "resample": 4 }),
                "key `resample`: expected 0 nearest",
            ),
        ] {
            let error = serde_json::from_value::<ShrinkProcessor>(keys).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
