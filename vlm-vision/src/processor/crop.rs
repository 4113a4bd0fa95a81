//! Cutting rectangles out of pictures.

use image::{Rgb, RgbImage};
use vlm_core::{Error, Size};

use super::pad::{Margins, pad};
use super::picture::{check_step, from_pixels, refusal, size_of};

/// Cuts out the rectangle whose upper left corner is at row `top` and column `left`.
///
/// # Errors
///
/// When the rectangle is empty or reaches beyond the picture.
pub fn crop(image: &RgbImage, top: usize, left: usize, size: Size) -> Result<RgbImage, Error> {
    let old = size_of(image);
    check_step(old, size)?;
    let ends = |from: usize, length: usize, all: usize| {
        from.checked_add(length).is_some_and(|end| end <= all)
    };
    if !ends(top, size.height, old.height) || !ends(left, size.width, old.width) {
        let Size { height, width } = size;
        let message = format!("{height} x {width} at row {top}, column {left} reaches beyond it");
        return Err(refusal(old, message));
    }
    let rows = image.as_raw().chunks_exact(3 * old.width);
    let rows = rows.skip(top).take(size.height);
    let pixels = rows
        .flat_map(|row| &row[3 * left..][..3 * size.width])
        .copied()
        .collect();
    Ok(from_pixels(size, pixels))
}

/// Cuts `size` out of the middle, after padding with black where the picture is smaller.
///
/// Where pixels do not divide evenly, the lower half of the crop's surroundings is the larger one, as in
/// the torchvision backend.
///
/// # Errors
///
/// When the picture or `size` is empty or far too large.
pub fn center_crop(image: &RgbImage, size: Size) -> Result<RgbImage, Error> {
    check_step(size_of(image), size)?;
    let margins = Margins::centred(size_of(image), size);
    let padded = match margins == Margins::default() {
        true => None,
        false => Some(pad(image, margins, Rgb([0; 3]))?),
    };
    let image = padded.as_ref().unwrap_or(image);
    let from = size_of(image);
    crop(
        image,
        (from.height - size.height) / 2,
        (from.width - size.width) / 2,
        size,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pixel's red is its column, its green its row.
    fn numbered(height: u32, width: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 200]))
    }

    #[test]
    fn the_corner_is_given_by_row_and_column() {
        let tile = crop(&numbered(4, 6), 1, 3, Size::new(2, 3)).unwrap();
        assert_eq!(tile.dimensions(), (3, 2));
        assert_eq!(
            (tile[(0, 0)], tile[(2, 1)]),
            (Rgb([3, 1, 200]), Rgb([5, 2, 200]))
        );
    }

    #[test]
    fn the_middle_is_nearer_to_the_upper_left() {
        let middle = center_crop(&numbered(5, 6), Size::new(2, 3)).unwrap();
        assert_eq!(middle[(0, 0)], Rgb([1, 1, 200]));
    }

    #[test]
    fn a_smaller_picture_is_surrounded_by_black() {
        let middle = center_crop(&numbered(1, 6), Size::new(4, 3)).unwrap();
        assert_eq!(middle.dimensions(), (3, 4));
        assert_eq!(
            (middle[(0, 0)], middle[(0, 1)]),
            (Rgb([0; 3]), Rgb([1, 0, 200]))
        );
        assert_eq!((middle[(2, 2)], middle[(2, 3)]), (Rgb([0; 3]), Rgb([0; 3])));
    }

    #[test]
    fn rectangles_beyond_the_picture_are_refused() {
        let image = numbered(4, 6);
        let error = crop(&image, 3, 0, Size::new(2, 2)).unwrap_err().to_string();
        let expected = "image of height 4 and width 6: 2 x 2 at row 3, column 0 reaches beyond it";
        assert_eq!(error, expected);
        assert!(crop(&image, 0, usize::MAX, Size::new(1, 1)).is_err());
        assert!(crop(&image, 0, 0, Size::new(0, 1)).is_err());
    }
}
