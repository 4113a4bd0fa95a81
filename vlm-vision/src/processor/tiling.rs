//! Tiles and an overview of each picture: the pipeline of Idefics3 and SmolVLM.

use std::borrow::Cow;
use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vlm_core::{ConfigReader, Error, ImageLayout, ImageProcessor, ProcessedImage, Size};

use super::crop::crop;
use super::file::ProcessorFile;
use super::normalize::Normalize;
use super::picture::{check_step, size_of};
use super::plain_keys::class_name;
use super::resample::Resample;
use super::resize::resize;
use super::tiling_keys;

/// No side is longer than this after the first step, whatever `size` asks for.
const LONGEST: usize = 4096;

/// The image processor of Idefics3 and SmolVLM: square tiles of each picture, row by row, and an overview last.
///
/// | step | keys |
/// |---|---|
/// | resize to a longest side, at most 4096 | `do_resize`, `size`, `resample` |
/// | resize up to multiples of a tile | `do_image_splitting`, `max_image_size` |
/// | cut into tiles; resize the whole to one more tile | `do_image_splitting`, `max_image_size` |
/// | bytes to numbers | `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean`, `image_std` |
///
/// A picture that fits one tile, or any picture without `do_image_splitting`, is one crop without overview;
/// all others have at least two tiles, so [`crops`](ImageLayout::crops) tells the two apart. Each step works
/// on bytes and rounds, as in transformers' torchvision backend, whose result is met bit for bit.
///
/// ```
/// use vlm_core::{ImageProcessor, Size};
/// use vlm_vision::processor::TilingProcessor;
///
/// let json = r#"{"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 2048},
///     "max_image_size": {"longest_edge": 512}}"#;
/// let processor: TilingProcessor = serde_json::from_str(json).unwrap();
/// let layout = processor.layout(Size::new(480, 640)).unwrap();
/// assert_eq!((layout.tiles, layout.crops), (Size::new(3, 4), 13));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct TilingProcessor {
    keys: Map<String, Value>,
    steps: Steps,
}

/// What the keys say, in the order in which it is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps {
    pub resize: Option<Target>,
    pub resample: Resample,
    pub split: bool,
    pub tile: usize,
    pub normalize: Normalize,
}

/// What the first resizing aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    LongestEdge(usize),
    Exact(Size),
}

/// The sizes that a picture goes through.
struct Plan {
    resized: Size,
    /// The size whose tiles are cut out; none when there is but one crop.
    covering: Option<Size>,
}

impl TilingProcessor {
    /// The processor of a JSON object; the classes that may be named in it do the same.
    ///
    /// # Errors
    ///
    /// Names the key that is unknown, of the wrong type, or has a value that cannot be served.
    pub fn from_keys(keys: Map<String, Value>) -> Result<Self, Error> {
        let reader = ConfigReader::new(Value::Object(keys.clone()))?;
        let steps = tiling_keys::read(reader, class_name(&keys)?)?;
        Ok(Self { keys, steps })
    }

    /// Reads the processor of a checkpoint's folder.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, or has a key that cannot be served.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let file = ProcessorFile::find(folder)?;
        Self::from_keys(file.keys.clone()).map_err(|error| file.explain(error))
    }

    /// The keys as they were read.
    pub fn keys(&self) -> &Map<String, Value> {
        &self.keys
    }

    /// Height and width of every crop.
    pub fn crop_size(&self) -> Size {
        Size::new(self.steps.tile, self.steps.tile)
    }

    fn plan(&self, original: Size) -> Result<Plan, Error> {
        let resized = match self.steps.resize {
            None => original,
            Some(Target::Exact(size)) => size,
            Some(Target::LongestEdge(edge)) => below(LONGEST, to_longest_edge(original, edge)),
        };
        check_step(original, resized)?;
        let tile = self.crop_size();
        let covering = match self.steps.split {
            true => up_to_multiples(resized, self.steps.tile),
            false => tile,
        };
        check_step(resized, covering)?;
        Ok(Plan {
            resized,
            covering: (covering != tile).then_some(covering),
        })
    }

    /// The crops of a picture before their bytes become numbers.
    ///
    /// # Errors
    ///
    /// When a picture of this size cannot be served.
    pub fn pictures(&self, image: &RgbImage) -> Result<Vec<RgbImage>, Error> {
        let plan = self.plan(size_of(image))?;
        let (tile, resample) = (self.crop_size(), self.steps.resample);
        let mut image = Cow::Borrowed(image);
        if plan.resized != size_of(&image) {
            image = Cow::Owned(resize(&image, plan.resized, resample)?);
        }
        let Some(covering) = plan.covering else {
            return Ok(vec![resize(&image, tile, resample)?]);
        };
        let image = resize(&image, covering, resample)?;
        let tops = (0..covering.height).step_by(tile.height);
        let corners = tops.flat_map(|top| {
            let lefts = (0..covering.width).step_by(tile.width);
            lefts.map(move |left| (top, left))
        });
        let tiles = corners.map(|(top, left)| crop(&image, top, left, tile));
        tiles
            .chain(std::iter::once_with(|| resize(&image, tile, resample)))
            .collect()
    }
}

impl ImageProcessor for TilingProcessor {
    fn layout(&self, original: Size) -> Result<ImageLayout, Error> {
        let (tiles, crops) = match self.plan(original)?.covering {
            None => (Size::new(1, 1), 1),
            Some(size) => {
                let (rows, columns) = (size.height / self.steps.tile, size.width / self.steps.tile);
                (Size::new(rows, columns), rows * columns + 1)
            }
        };
        Ok(ImageLayout {
            original,
            crop: self.crop_size(),
            tiles,
            crops,
        })
    }

    fn process(&self, image: &RgbImage) -> Result<ProcessedImage, Error> {
        let layout = self.layout(size_of(image))?;
        let tile = self.steps.tile;
        let pictures = self.pictures(image)?;
        let mut pixels = vec![0.0; layout.crops * 3 * tile * tile];
        let crops = pixels.par_chunks_exact_mut(3 * tile * tile).zip(&pictures);
        crops.for_each(|(planes, picture)| self.steps.normalize.fill(picture, planes));
        Ok(ProcessedImage { pixels, layout })
    }
}

impl TryFrom<Map<String, Value>> for TilingProcessor {
    type Error = Error;

    fn try_from(keys: Map<String, Value>) -> Result<Self, Error> {
        Self::from_keys(keys)
    }
}

impl From<TilingProcessor> for Map<String, Value> {
    fn from(processor: TilingProcessor) -> Self {
        processor.keys
    }
}

// The quotients are computed as the reference computes them, because fractions are cut off: a side may be
// one less than exact arithmetic has it.

/// The longer side gets the length `edge`; the other keeps the aspect ratio and is made even.
fn to_longest_edge(old: Size, edge: usize) -> Size {
    with_longer_side(old, edge, |side| side + side % 2)
}

/// As large as `limit` allows, aspect ratio kept.
fn below(limit: usize, size: Size) -> Size {
    match size.height.max(size.width) > limit {
        true => with_longer_side(size, limit, |side| side),
        false => size,
    }
}

fn with_longer_side(old: Size, edge: usize, adjust: impl Fn(usize) -> usize) -> Size {
    let aspect = old.width as f64 / old.height as f64;
    let (height, width) = match old.width >= old.height {
        true => (adjust((edge as f64 / aspect) as usize), edge),
        false => (edge, adjust((edge as f64 * aspect) as usize)),
    };
    Size::new(height.max(1), width.max(1))
}

/// Both sides rounded up to multiples of `tile`: the longer one first, the other from its new length.
fn up_to_multiples(old: Size, tile: usize) -> Size {
    let up = |side: usize| side.div_ceil(tile) * tile;
    let aspect = old.width as f64 / old.height as f64;
    match old.width >= old.height {
        true => {
            let width = up(old.width);
            Size::new(up((width as f64 / aspect) as usize), width)
        }
        false => {
            let height = up(old.height);
            Size::new(height, up((height as f64 * aspect) as usize))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn processor(keys: Value) -> TilingProcessor {
        serde_json::from_value(keys).unwrap()
    }

    #[test]
    fn tiles_come_row_by_row_and_the_overview_last() {
        let keys = json!({
            "do_resize": false, "max_image_size": { "longest_edge": 2 },
            "do_rescale": false, "do_normalize": false, "resample": 0,
        });
        let numbered = RgbImage::from_fn(6, 4, |x, y| image::Rgb([(10 * y + x) as u8, 0, 0]));
        let image = processor(keys).process(&numbered).unwrap();
        assert_eq!(
            (image.layout.tiles, image.layout.crops),
            (Size::new(2, 3), 7)
        );
        let firsts: Vec<f32> = image.pixels.chunks(12).map(|crop| crop[0]).collect();
        assert_eq!(firsts, [0.0, 2.0, 4.0, 20.0, 22.0, 24.0, 11.0]);
    }

    #[test]
    fn a_picture_that_fits_one_tile_has_no_overview() {
        let processor = processor(json!({ "size": { "longest_edge": 364 } }));
        let layout = processor.layout(Size::new(50, 80)).unwrap();
        assert_eq!((layout.tiles, layout.crops), (Size::new(1, 1), 1));
    }

    #[test]
    fn the_shorter_side_is_made_even_and_never_vanishes() {
        assert_eq!(
            to_longest_edge(Size::new(101, 200), 100),
            Size::new(50, 100)
        );
        assert_eq!(
            to_longest_edge(Size::new(103, 200), 100),
            Size::new(52, 100)
        );
        assert_eq!(to_longest_edge(Size::new(1000, 1), 100), Size::new(100, 1));
        assert_eq!(
            below(LONGEST, Size::new(10_000, 4999)),
            Size::new(4096, 2047)
        );
    }

    #[test]
    fn a_long_picture_of_few_pixels_is_refused_where_nothing_is_left_of_it() {
        let keys = json!({ "do_resize": false, "max_image_size": { "longest_edge": 49 } });
        let error = processor(keys).layout(Size::new(49, 1)).unwrap_err();
        // 49 · (1 / 49) is below 1.
        assert!(error.to_string().contains("at 49 x 0"), "{error}");
    }
}
