//! One crop a picture: the pipeline of CLIP, LLaVA-1.5 and SigLIP.

use std::borrow::Cow;

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vlm_core::{ConfigReader, Error, ImageLayout, ImageProcessor, ProcessedImage, Size};

use super::class::ProcessorClass;
use super::crop::center_crop;
use super::normalize::Normalize;
use super::pad::{pad_planes, pad_to_square, square_around};
use super::picture::{check_step, refusal, size_of};
use super::plain_keys;
use super::resample::Resample;
use super::resize::resize;
use super::size_rule::SizeRule;

/// The image processor of CLIP, LLaVA-1.5 and SigLIP: one crop of each picture.
///
/// | step | keys |
/// |---|---|
/// | pad to a square with the mean colour (LLaVA only) | `do_pad` |
/// | resize | `do_resize`, `size`, `default_to_square`, `use_square_size`, `resample` |
/// | centre crop | `do_center_crop`, `crop_size` |
/// | bytes to numbers | `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean`, `image_std` |
/// | zeros at the right and the bottom (CLIP and SigLIP) | `do_pad`, `pad_size` |
///
/// The result equals that of transformers' torchvision backend bit for bit. A processor is read from its
/// JSON object with every key honoured or refused by name, and is written back as it was read:
///
/// ```
/// use vlm_core::{ImageProcessor, Size};
/// use vlm_vision::processor::PlainProcessor;
///
/// let json = r#"{"image_processor_type": "CLIPImageProcessor", "size": 336, "crop_size": 336}"#;
/// let processor: PlainProcessor = serde_json::from_str(json).unwrap();
/// assert_eq!(processor.output_size(Size::new(480, 640)).unwrap(), Size::new(336, 336));
/// let image = processor.process(&image::RgbImage::new(640, 480)).unwrap();
/// assert_eq!(image.pixels.len(), 3 * 336 * 336);
/// assert_eq!(serde_json::to_string(&processor).unwrap(), json.replace(": ", ":").replace(", ", ","));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct PlainProcessor {
    keys: Map<String, Value>,
    steps: Steps,
}

/// What the keys say, in the order in which it is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps {
    pub square: Option<Rgb<u8>>,
    pub resize: Option<(SizeRule, Resample)>,
    pub crop: Option<Size>,
    pub normalize: Normalize,
    pub canvas: Option<Size>,
}

impl PlainProcessor {
    /// The processor of a JSON object; `class` is what it is where the object does not say.
    ///
    /// # Errors
    ///
    /// Names the key that is unknown, of the wrong type, or has a value that cannot be served.
    pub fn from_keys(
        mut keys: Map<String, Value>,
        class: Option<ProcessorClass>,
    ) -> Result<Self, Error> {
        let class = match plain_keys::class_name(&keys)? {
            Some(name) => ProcessorClass::from_name(name)?,
            None => {
                let missing = || Error::key("image_processor_type", "the key is missing");
                let class = class.ok_or_else(missing)?;
                keys.insert("image_processor_type".into(), class.name().into());
                class
            }
        };
        let steps = plain_keys::read(ConfigReader::new(Value::Object(keys.clone()))?, class)?;
        Ok(Self { keys, steps })
    }

    /// The keys as they were read.
    pub fn keys(&self) -> &Map<String, Value> {
        &self.keys
    }

    /// The size that a picture will have for the encoder.
    ///
    /// # Errors
    ///
    /// When a picture of this size cannot be served.
    pub fn output_size(&self, original: Size) -> Result<Size, Error> {
        let size = self.picture_size(original)?;
        let Some(canvas) = self.steps.canvas else {
            return Ok(size);
        };
        check_step(size, canvas)?;
        if size.height > canvas.height || size.width > canvas.width {
            let Size { height, width } = size;
            let message = format!("at {height} x {width} it does not fit into pad_size");
            return Err(refusal(original, message));
        }
        Ok(canvas)
    }

    /// The size after the steps on bytes.
    fn picture_size(&self, original: Size) -> Result<Size, Error> {
        let mut size = original;
        check_step(size, size)?;
        if self.steps.square.is_some() {
            check_step(size, square_around(size))?;
            size = square_around(size);
        }
        if let Some((rule, _)) = self.steps.resize {
            check_step(size, rule.apply(size))?;
            size = rule.apply(size);
        }
        if let Some(crop) = self.steps.crop {
            let (height, width) = (size.height.max(crop.height), size.width.max(crop.width));
            check_step(size, Size::new(height, width))?;
            size = crop;
        }
        Ok(size)
    }

    /// The picture after padding to a square, resizing and cropping, before its bytes become numbers.
    ///
    /// # Errors
    ///
    /// As [`output_size`](Self::output_size).
    pub fn picture(&self, image: &RgbImage) -> Result<RgbImage, Error> {
        self.picture_size(size_of(image))?;
        let mut image = Cow::Borrowed(image);
        if let Some(colour) = self.steps.square {
            image = Cow::Owned(pad_to_square(&image, colour)?);
        }
        if let Some((rule, resample)) = self.steps.resize {
            let size = rule.apply(size_of(&image));
            image = Cow::Owned(resize(&image, size, resample)?);
        }
        if let Some(size) = self.steps.crop {
            image = Cow::Owned(center_crop(&image, size)?);
        }
        Ok(image.into_owned())
    }
}

impl ImageProcessor for PlainProcessor {
    fn layout(&self, original: Size) -> Result<ImageLayout, Error> {
        Ok(ImageLayout {
            original,
            crop: self.output_size(original)?,
            tiles: Size::new(1, 1),
            crops: 1,
        })
    }

    fn process(&self, image: &RgbImage) -> Result<ProcessedImage, Error> {
        let layout = self.layout(size_of(image))?;
        let crop = layout.crop;
        let picture = self.picture(image)?;
        let mut pixels = Vec::with_capacity(3 * crop.height * crop.width);
        self.steps.normalize.append(&picture, &mut pixels);
        if size_of(&picture) != crop {
            pixels = pad_planes(&pixels, size_of(&picture), crop);
        }
        Ok(ProcessedImage { pixels, layout })
    }
}

impl TryFrom<Map<String, Value>> for PlainProcessor {
    type Error = Error;

    fn try_from(keys: Map<String, Value>) -> Result<Self, Error> {
        Self::from_keys(keys, None)
    }
}

impl From<PlainProcessor> for Map<String, Value> {
    fn from(processor: PlainProcessor) -> Self {
        processor.keys
    }
}
