//! One crop of the picture's own size, in whole patches: the pipeline of Fuyu.

use std::borrow::Cow;
use std::path::Path;

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vlm_core::{ConfigReader, Error, ImageLayout, ImageProcessor, ProcessedImage, Size};

use super::file::ProcessorFile;
use super::normalize::Normalize;
use super::pad::{Margins, pad};
use super::picture::{check_step, refusal, size_of};
use super::plain_keys::class_name;
use super::resample::Resample;
use super::resize::resize;
use super::shrink_keys;
use super::size_rule::SizeRule;

/// The image processor of Fuyu: a picture keeps its size unless it is too large, and becomes whole patches.
///
/// | step | keys |
/// |---|---|
/// | shrink into `size`, aspect ratio kept; smaller pictures stay | `do_resize`, `size`, `resample` |
/// | fill patches up at the right and the bottom | `do_pad`, `size`, `patch_size`, `padding_value` |
/// | bytes to numbers | `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean`, `image_std` |
///
/// The reference pads to `size` and cuts the patches off that hold no pixel of the picture; what is left is
/// the same. The padding is a byte, so it is rescaled and normalised like the picture. The result equals that
/// of transformers' torchvision backend bit for bit.
///
/// ```
/// use vlm_core::{ImageProcessor, Size};
/// use vlm_vision::processor::ShrinkProcessor;
///
/// let processor: ShrinkProcessor =
///     serde_json::from_str(r#"{"image_processor_type": "FuyuImageProcessor"}"#).unwrap();
/// let crop = |height, width| processor.layout(Size::new(height, width)).unwrap().crop;
/// assert_eq!(crop(480, 640), Size::new(480, 660));
/// assert_eq!(crop(2160, 1920), Size::new(1080, 960));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct ShrinkProcessor {
    keys: Map<String, Value>,
    steps: Steps,
}

/// What the keys say, in the order in which it is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps {
    pub size: Size,
    pub resize: Option<Resample>,
    pub patch_size: usize,
    pub padding: Option<u8>,
    pub normalize: Normalize,
}

impl ShrinkProcessor {
    /// The processor of a JSON object.
    ///
    /// # Errors
    ///
    /// Names the key that is unknown, of the wrong type, or has a value that cannot be served.
    pub fn from_keys(keys: Map<String, Value>) -> Result<Self, Error> {
        let reader = ConfigReader::new(Value::Object(keys.clone()))?;
        let steps = shrink_keys::read(reader, class_name(&keys)?)?;
        Ok(Self { keys, steps })
    }

    /// Reads the processor of a checkpoint's folder, whose model takes patches of `patch_size`.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, has a key that cannot be served, or makes other patches.
    pub fn read(folder: &Path, patch_size: usize) -> Result<Self, Error> {
        let file = ProcessorFile::find(folder)?;
        let processor = Self::from_keys(file.keys.clone()).and_then(|processor| {
            match processor.steps.patch_size {
                found if found == patch_size => Ok(processor),
                found => {
                    let message = format!("the model takes {patch_size}, found {found}");
                    Err(Error::key("patch_size", message))
                }
            }
        });
        processor.map_err(|error| file.explain(error))
    }

    /// The keys as they were read.
    pub fn keys(&self) -> &Map<String, Value> {
        &self.keys
    }

    /// Height and width that no picture passes, where pictures are shrunk.
    pub fn limit(&self) -> Option<Size> {
        self.steps.resize.map(|_| self.steps.size)
    }

    /// The size of a picture's own pixels, before patches are filled up.
    pub fn resized(&self, original: Size) -> Size {
        let within = |limit: Size| original.height <= limit.height && original.width <= limit.width;
        match self.limit() {
            Some(limit) if !within(limit) => SizeRule::Within(limit).apply(original),
            _ => original,
        }
    }

    /// The size in whole patches.
    fn crop(&self, original: Size) -> Result<Size, Error> {
        let resized = self.resized(original);
        check_step(original, resized)?;
        let (limit, patch) = (self.steps.size, self.steps.patch_size);
        let whole = |side: usize| side.div_ceil(patch) * patch;
        let crop = match self.steps.padding {
            None => resized,
            Some(_) if resized.height > limit.height || resized.width > limit.width => {
                let Size { height, width } = limit;
                let message = format!("it does not fit into size, {height} x {width}");
                return Err(refusal(original, message));
            }
            Some(_) => Size::new(
                whole(resized.height).min(limit.height),
                whole(resized.width).min(limit.width),
            ),
        };
        check_step(resized, crop)?;
        match crop.height.is_multiple_of(patch) && crop.width.is_multiple_of(patch) {
            true => Ok(crop),
            false => {
                let Size { height, width } = crop;
                let message = format!(
                    "at {height} x {width} it does not divide into patches of {patch} x {patch}"
                );
                Err(refusal(original, message))
            }
        }
    }

    /// The picture in whole patches, before its bytes become numbers.
    ///
    /// # Errors
    ///
    /// When a picture of this size cannot be served.
    pub fn picture(&self, image: &RgbImage) -> Result<RgbImage, Error> {
        let original = size_of(image);
        let (resized, crop) = (self.resized(original), self.crop(original)?);
        let mut image = Cow::Borrowed(image);
        if let Some(resample) = self.steps.resize
            && resized != original
        {
            image = Cow::Owned(resize(&image, resized, resample)?);
        }
        match self.steps.padding {
            Some(value) if crop != resized => {
                let margins = Margins {
                    bottom: crop.height - resized.height,
                    right: crop.width - resized.width,
                    ..Margins::default()
                };
                pad(&image, margins, Rgb([value; 3]))
            }
            _ => Ok(image.into_owned()),
        }
    }
}

impl ImageProcessor for ShrinkProcessor {
    fn layout(&self, original: Size) -> Result<ImageLayout, Error> {
        Ok(ImageLayout {
            original,
            crop: self.crop(original)?,
            tiles: Size::new(1, 1),
            crops: 1,
        })
    }

    fn process(&self, image: &RgbImage) -> Result<ProcessedImage, Error> {
        let layout = self.layout(size_of(image))?;
        let mut pixels = Vec::with_capacity(3 * layout.crop.height * layout.crop.width);
        self.steps
            .normalize
            .append(&self.picture(image)?, &mut pixels);
        Ok(ProcessedImage { pixels, layout })
    }
}

impl TryFrom<Map<String, Value>> for ShrinkProcessor {
    type Error = Error;

    fn try_from(keys: Map<String, Value>) -> Result<Self, Error> {
        Self::from_keys(keys)
    }
}

impl From<ShrinkProcessor> for Map<String, Value> {
    fn from(processor: ShrinkProcessor) -> Self {
        processor.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn processor(keys: Value) -> ShrinkProcessor {
        serde_json::from_value(keys).unwrap()
    }

    #[test]
    fn padding_fills_the_last_patches_with_its_byte() {
        let keys = json!({
            "size": [4, 6], "patch_size": 2, "padding_value": 9.5, "do_rescale": false, "do_normalize": false,
        });
        let image = RgbImage::from_pixel(3, 1, Rgb([1, 2, 3]));
        let image = processor(keys).process(&image).unwrap();
        assert_eq!(image.layout.crop, Size::new(2, 4));
        let red = [1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0];
        assert_eq!(image.pixels[..8], red);
    }

    #[test]
    fn what_does_not_divide_or_fit_is_refused() {
        for (keys, size, message) in [
            (
                json!({ "do_pad": false, "patch_size": 2 }),
                Size::new(3, 4),
                "at 3 x 4 it does not divide into patches of 2 x 2",
            ),
            (
                json!({ "size": [5, 4], "patch_size": 2 }),
                Size::new(5, 2),
                "at 5 x 2 it does not divide",
            ),
            (
                json!({ "size": [4, 4], "patch_size": 2, "do_resize": false }),
                Size::new(2, 5),
                "it does not fit into size, 4 x 4",
            ),
            (json!({}), Size::new(1, 5000), "at 0 x 1920"),
            (json!({}), Size::new(0, 3), "it has no pixels"),
        ] {
            let error = processor(keys).layout(size).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
