//! An overview and tiles: the pipeline of LLaVA-NeXT.

use std::path::Path;

use image::{Rgb, RgbImage};
use rayon::prelude::*;
use serde_json::{Map, Value};
use vlm_core::{ConfigReader, Error, ImageLayout, ImageProcessor, ProcessedImage, Size};

use super::class::{ProcessorClass, family};
use super::crop::crop;
use super::file::ProcessorFile;
use super::pad::{Margins, pad};
use super::picture::{MAX_PIXELS, check_step, size_of};
use super::pinpoints::{best_resolution, size_within};
use super::plain::PlainProcessor;
use super::plain_keys;
use super::resample::Resample;
use super::resize::resize;
use super::size_rule::SizeRule;

/// The name of the class in transformers.
const CLASS: &str = "LlavaNextImageProcessor";

/// What the class takes where `image_grid_pinpoints` is left out: heights and widths.
const GRID_PINPOINTS: [Size; 5] = [
    Size::new(336, 672),
    Size::new(672, 336),
    Size::new(672, 672),
    Size::new(1008, 336),
    Size::new(336, 1008),
];

/// The image processor of LLaVA-NeXT ([Liu et al. 2024](https://llava-vl.github.io/blog/2024-01-30-llava-next)):
/// an overview of each picture, then its tiles, row by row.
///
/// | step | keys |
/// |---|---|
/// | overview: resize to `size`, whatever the aspect ratio | `size`, `resample` |
/// | choose a resolution, resize into it, centre on black | `image_grid_pinpoints`, `resample` |
/// | cut into tiles | `crop_size`, else `size` |
/// | overview and tiles, each | those of [`PlainProcessor`] without its padding |
///
/// The result equals that of transformers' torchvision backend bit for bit; `do_pad`, which fills batches
/// up with empty crops there, changes nothing of a picture's own crops.
///
/// ```
/// use vlm_core::{ImageProcessor, Size};
/// use vlm_vision::processor::AnyResProcessor;
///
/// let json = serde_json::json!({ "size": { "shortest_edge": 336 }, "crop_size": 336 });
/// let processor = AnyResProcessor::from_keys(json.as_object().unwrap().clone()).unwrap();
/// let layout = processor.layout(Size::new(480, 640)).unwrap();
/// assert_eq!((layout.tiles, layout.crops), (Size::new(2, 2), 5));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AnyResProcessor {
    grid_pinpoints: Vec<Size>,
    overview: Size,
    tile: usize,
    resample: Resample,
    each: PlainProcessor,
}

impl AnyResProcessor {
    /// Reads the processor of a checkpoint's folder.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, or has a key that cannot be served.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let file = ProcessorFile::find(folder)?;
        Self::from_keys(file.keys.clone()).map_err(|error| file.explain(error))
    }

    /// The processor of a JSON object.
    ///
    /// # Errors
    ///
    /// Names the key that is unknown, of the wrong type, or has a value that cannot be served.
    pub fn from_keys(mut keys: Map<String, Value>) -> Result<Self, Error> {
        if let Some(name) = plain_keys::class_name(&keys)?
            && family(name) != family(CLASS)
        {
            let message = format!("expected {CLASS}, found {name}");
            return Err(Error::key("image_processor_type", message));
        }
        let mut reader = ConfigReader::new(Value::Object(keys.clone()))?;
        reader.get::<bool>("do_pad")?;
        reader.only_absent("pad_size", "crops are not padded")?;
        reader.only_absent("use_square_size", "only CLIPImageProcessor has this key")?;
        let (overview, tile) = sides(&mut reader)?;
        let resample = Resample::from_code(reader.or("resample", Resample::Bicubic.code())?)?;
        let grid_pinpoints = grid_pinpoints(&mut reader, tile)?;
        for own in ["do_pad", "image_grid_pinpoints", "feature_extractor_type"] {
            keys.remove(own);
        }
        // Its keys have the meaning and the defaults of CLIP's.
        keys.insert(
            "image_processor_type".to_owned(),
            ProcessorClass::Clip.name().into(),
        );
        let each = PlainProcessor::from_keys(keys, None)?;
        let of_overview = each.output_size(overview)?;
        let of_tile = each.output_size(Size::new(tile, tile))?;
        if of_overview != of_tile {
            let text = |size: Size| format!("{} x {}", size.height, size.width);
            let (overview, tile) = (text(of_overview), text(of_tile));
            let message = format!("makes the overview {overview} and a tile {tile}");
            return Err(Error::key("size", message));
        }
        Ok(Self {
            grid_pinpoints,
            overview,
            tile,
            resample,
            each,
        })
    }

    /// The resolutions that a picture may be tiled at.
    pub fn grid_pinpoints(&self) -> &[Size] {
        &self.grid_pinpoints
    }

    /// The resolution that a picture is tiled at, after checking every size on the way to it.
    fn resolution(&self, original: Size) -> Result<Size, Error> {
        check_step(original, original)?;
        check_step(original, self.overview)?;
        let best = best_resolution(original, &self.grid_pinpoints);
        let best = best.ok_or_else(|| Error::key("image_grid_pinpoints", "is empty"))?;
        check_step(original, size_within(original, best))?;
        Ok(best)
    }

    fn grid(&self, resolution: Size) -> Size {
        Size::new(resolution.height / self.tile, resolution.width / self.tile)
    }
}

impl ImageProcessor for AnyResProcessor {
    fn layout(&self, original: Size) -> Result<ImageLayout, Error> {
        let tiles = self.grid(self.resolution(original)?);
        Ok(ImageLayout {
            original,
            crop: self.each.output_size(self.overview)?,
            tiles,
            crops: 1 + tiles.height * tiles.width,
        })
    }

    fn process(&self, image: &RgbImage) -> Result<ProcessedImage, Error> {
        let original = size_of(image);
        let layout = self.layout(original)?;
        let resolution = self.resolution(original)?;
        let overview = resize(image, self.overview, self.resample)?;
        let mut pixels = self.each.process(&overview)?.pixels;
        pixels.reserve_exact(pixels.len() * (layout.crops - 1));
        let size = size_within(original, resolution);
        let tiled = resize(image, size, self.resample)?;
        let tiled = pad(&tiled, Margins::centred(size, resolution), Rgb([0; 3]))?;
        let side = Size::new(self.tile, self.tile);
        let count = layout.tiles.height * layout.tiles.width;
        let tiles = (0..count).into_par_iter().map(|index| {
            let (row, column) = (index / layout.tiles.width, index % layout.tiles.width);
            let tile = crop(&tiled, row * self.tile, column * self.tile, side)?;
            Ok(self.each.process(&tile)?.pixels)
        });
        for tile in tiles.collect::<Vec<Result<_, Error>>>() {
            pixels.extend(tile?);
        }
        Ok(ProcessedImage { pixels, layout })
    }
}

/// The size of the overview and the side of a tile.
fn sides(keys: &mut ConfigReader) -> Result<(Size, usize), Error> {
    let to_square = keys.or("default_to_square", false)?;
    let size = SizeRule::read(keys, "size", to_square)?.unwrap_or(SizeRule::ShortestEdge(224));
    let overview = match size {
        SizeRule::Exact(size) => size,
        SizeRule::ShortestEdge(edge) | SizeRule::ShortestEdgeWithin(edge, _) => {
            Size::new(edge, edge)
        }
        SizeRule::Within(_) => {
            let message = "expected shortest_edge, or height and width";
            return Err(keys.error("size", message));
        }
    };
    let tile = match SizeRule::read(keys, "crop_size", true)? {
        None => 224,
        Some(SizeRule::Exact(size)) => size.height,
        Some(_) => overview.height,
    };
    Ok((overview, tile))
}

fn grid_pinpoints(keys: &mut ConfigReader, tile: usize) -> Result<Vec<Size>, Error> {
    let key = "image_grid_pinpoints";
    let pinpoints = match keys.get::<Vec<[usize; 2]>>(key)? {
        None => GRID_PINPOINTS.to_vec(),
        Some(pairs) => pairs
            .into_iter()
            .map(|[height, width]| Size::new(height, width))
            .collect(),
    };
    if pinpoints.is_empty() {
        return Err(keys.error(key, "expected pairs of height and width, found none"));
    }
    for Size { height, width } in &pinpoints {
        let tiled = |side: &usize| *side > 0 && side.is_multiple_of(tile);
        if !tiled(height) || !tiled(width) {
            let message =
                format!("expected multiples of the tiles' {tile}, found {height} x {width}");
            return Err(keys.error(key, message));
        }
        if height.saturating_mul(*width) > MAX_PIXELS {
            let message = format!("{height} x {width} is more than {MAX_PIXELS} pixels");
            return Err(keys.error(key, message));
        }
    }
    Ok(pinpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(keys: Value) -> String {
        let keys = keys.as_object().unwrap().clone();
        AnyResProcessor::from_keys(keys).unwrap_err().to_string()
    }

    #[test]
    fn keys_that_cannot_be_served_are_refused_by_name() {
        let small = |more: Value| {
            let mut keys =
                json!({ "size": 28, "crop_size": 28, "image_grid_pinpoints": [[28, 56]] });
            let more = more.as_object().unwrap().clone();
            keys.as_object_mut().unwrap().extend(more);
            keys
        };
        for (more, expected) in [
            (json!({ "do_flip": true }), "key `do_flip`: "),
            (json!({ "do_pad": 3 }), "key `do_pad`: "),
            (json!({ "pad_size": 30 }), "key `pad_size`: crops"),
            (
                json!({ "use_square_size": true }),
                "key `use_square_size`: only CLIP",
            ),
            (
                json!({ "size": { "max_height": 3, "max_width": 3 } }),
                "key `size`: expected",
            ),
            (
                json!({ "image_grid_pinpoints": [] }),
                "key `image_grid_pinpoints`: expected pairs",
            ),
            (
                json!({ "image_grid_pinpoints": [[28, 30]] }),
                "key `image_grid_pinpoints`: expected multiples of the tiles' 28, found 28 x 30",
            ),
            (
                json!({ "image_grid_pinpoints": [[0, 28]] }),
                "key `image_grid_pinpoints`: expected multiples",
            ),
            (
                json!({ "image_grid_pinpoints": [[28, 28_000_000_000_u64]] }),
                "key `image_grid_pinpoints`: 28 x",
            ),
            (
                json!({ "image_grid_pinpoints": [28] }),
                "key `image_grid_pinpoints`: invalid",
            ),
            (
                json!({ "size": [14, 28], "do_resize": false, "do_center_crop": false }),
                "key `size`: makes the overview 14 x 28 and a tile 28 x 28",
            ),
            (
                json!({ "image_processor_type": "CLIPImageProcessor" }),
                "key `image_processor_type`: expected LlavaNextImageProcessor, found CLIP",
            ),
        ] {
            let error = error(small(more));
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_overview_comes_first_and_tiles_row_by_row() {
        let keys = json!({
            "size": 2, "crop_size": 2, "image_grid_pinpoints": [[4, 4]], "resample": 0,
            "do_rescale": false, "do_normalize": false,
        });
        let processor = AnyResProcessor::from_keys(keys.as_object().unwrap().clone()).unwrap();
        let image = RgbImage::from_fn(4, 4, |x, y| Rgb([(y * 4 + x) as u8, 0, 0]));
        let processed = processor.process(&image).unwrap();
        assert_eq!(
            (processed.layout.tiles, processed.layout.crops),
            (Size::new(2, 2), 5)
        );
        let reds: Vec<&[f32]> = processed.pixels.chunks(4).step_by(3).collect();
        // The nearest as torch has it: the pixel under the middle.
        assert_eq!(reds[0], [5.0, 7.0, 13.0, 15.0]);
        assert_eq!(reds[1..3], [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]);
        assert_eq!(
            reds[3..],
            [[8.0, 9.0, 12.0, 13.0], [10.0, 11.0, 14.0, 15.0]]
        );
    }

    #[test]
    fn no_shape_makes_it_panic() {
        let keys =
            json!({ "size": 28, "crop_size": 28, "image_grid_pinpoints": [[28, 56], [56, 28]] });
        let processor = AnyResProcessor::from_keys(keys.as_object().unwrap().clone()).unwrap();
        for (height, width) in [(0, 0), (0, 5), (1, 1), (1, 30_000), (30_000, 1), (3, 2000)] {
            let planned = processor.layout(Size::new(height, width));
            let processed = processor.process(&RgbImage::new(width as u32, height as u32));
            match (planned, processed) {
                (Ok(planned), Ok(processed)) => {
                    assert_eq!(planned, processed.layout);
                    assert_eq!(processed.pixels.len(), planned.crops * 3 * 28 * 28);
                }
                (Err(planned), Err(processed)) => {
                    assert_eq!(planned.to_string(), processed.to_string());
                }
                (planned, processed) => panic!("{height} x {width}: {planned:?}, {processed:?}"),
            }
        }
    }
}
