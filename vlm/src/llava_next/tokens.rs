use std::ops::Range;

use vlm_core::{Error, ImageLayout, ImageTokens, Size, Slot};
use vlm_vision::VitConfig;

use crate::llava::check_crop;

/// A picture is its overview, then the rows of its tiles put together, without what was padded; each row ends in
/// a separator.
///
/// ```text
/// overview  a b    tiles  1 2 5 6        ->   a b c d   1 2 5 6 |  3 4 7 8 |
///           c d           3 4 7 8
/// ```
///
/// Source: `pack_image_features` and `unpad_image` of transformers' `modeling_llava_next.py`.
#[derive(Clone, Debug)]
pub struct LlavaNextTokens {
    image_token_id: u32,
    vision: VitConfig,
}

impl LlavaNextTokens {
    /// The layout of pictures that `vision` encodes.
    pub fn new(image_token_id: u32, vision: &VitConfig) -> Self {
        Self {
            image_token_id,
            vision: vision.clone(),
        }
    }
}

impl ImageTokens for LlavaNextTokens {
    fn image_token_id(&self) -> u32 {
        self.image_token_id
    }

    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error> {
        check_crop(&self.vision, layout)?;
        let id = self.image_token_id;
        let side = self.vision.image_size / self.vision.patch_size;
        let tiles = layout.tiles;
        let mut slots: Vec<Slot> = (0..side * side)
            .map(|token| Slot::visual(id, 0, token))
            .collect();
        let (rows, columns) = unpadded(layout.original, tiles.height * side, tiles.width * side);
        for row in rows {
            slots.extend(columns.clone().map(|column| {
                let tile = row / side * tiles.width + column / side;
                Slot::visual(id, 1 + tile, row % side * side + column % side)
            }));
            slots.push(Slot::separator(id, 0));
        }
        Ok(slots)
    }
}

/// The rows and columns of a grid that a picture of size `original` covers, when it was centred in the grid.
fn unpadded(original: Size, height: usize, width: usize) -> (Range<usize>, Range<usize>) {
    let (original_height, original_width) = (original.height as f64, original.width as f64);
    let (grid_height, grid_width) = (height as f64, width as f64);
    let middle = |covered: f64, length: usize| {
        let padding = length.saturating_sub(covered as usize) / 2;
        padding..length - padding
    };
    if original_width / original_height > grid_width / grid_height {
        let covered = rounded(original_height * (grid_width / original_width));
        (middle(covered, height), 0..width)
    } else {
        let covered = rounded(original_width * (grid_height / original_height));
        (0..height, middle(covered, width))
    }
}

/// Rounded to seven decimals, as Python's `round` does: from the exact value of the number.
fn rounded(value: f64) -> f64 {
    format!("{value:.7}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vlm_vision::{FeatureSelection, clip};

    fn layout(original: Size, tiles: Size) -> ImageLayout {
        ImageLayout {
            original,
            crop: Size::new(336, 336),
            tiles,
            crops: 1 + tiles.height * tiles.width,
        }
    }

    fn tokens() -> LlavaNextTokens {
        let vision = clip::vit_large_patch14_336(FeatureSelection::new(vec![-2], true));
        LlavaNextTokens::new(9, &vision)
    }

    #[test]
    fn every_slot_is_read_once_and_exists() {
        // Sizes from a fixed walk through the numbers.
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            1 + (state >> 33) % below
        };
        for _ in 0..200 {
            let original = Size::new(next(3000) as usize, next(3000) as usize);
            let tiles = Size::new(next(3) as usize, next(3) as usize);
            let layout = layout(original, tiles);
            let slots = tokens().lay_out(&layout).unwrap();
            let mut seen = std::collections::BTreeSet::new();
            for slot in &slots {
                if let vlm_core::Source::Visual { crop, token } = slot.source {
                    assert!(crop < layout.crops && token < 576, "{original:?}: {slot:?}");
                    assert!(seen.insert((crop, token)), "{original:?}: {slot:?} twice");
                }
            }
        }
    }

    #[test]
    fn tiles_are_put_together_row_by_row() {
        let slots = tokens().lay_out(&layout(Size::new(672, 672), Size::new(2, 2)));
        let slots = slots.unwrap();
        assert_eq!(slots[576 + 23], Slot::visual(9, 1, 23));
        assert_eq!(slots[576 + 24], Slot::visual(9, 2, 0));
        assert_eq!(slots[576 + 48], Slot::separator(9, 0));
        assert_eq!(slots[576 + 24 * 49], Slot::visual(9, 3, 0));
    }
}
