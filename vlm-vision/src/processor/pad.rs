//! Padding with a colour.

use image::{Rgb, RgbImage};
use vlm_core::{Error, Size};

use super::picture::{check_step, from_pixels, size_of};

/// How many pixels are added at each side of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margins {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Margins {
    /// Centres a picture in `canvas`; an odd pixel goes to the bottom and the right. An axis on which
    /// the picture is larger than the canvas gets nothing.
    pub fn centred(picture: Size, canvas: Size) -> Self {
        let height = canvas.height.saturating_sub(picture.height);
        let width = canvas.width.saturating_sub(picture.width);
        Self {
            top: height / 2,
            left: width / 2,
            bottom: height.div_ceil(2),
            right: width.div_ceil(2),
        }
    }
}

/// Adds margins of one colour.
///
/// # Errors
///
/// When the picture is empty, or the result has more than [`MAX_PIXELS`](super::MAX_PIXELS) pixels.
pub fn pad(image: &RgbImage, margins: Margins, colour: Rgb<u8>) -> Result<RgbImage, Error> {
    let old = size_of(image);
    let size = Size::new(
        old.height
            .saturating_add(margins.top)
            .saturating_add(margins.bottom),
        old.width
            .saturating_add(margins.left)
            .saturating_add(margins.right),
    );
    check_step(old, size)?;
    let mut pixels = colour.0.repeat(size.height * size.width);
    let rows = pixels.chunks_exact_mut(3 * size.width).skip(margins.top);
    for (target, row) in rows.zip(image.as_raw().chunks_exact(3 * old.width)) {
        target[3 * margins.left..][..row.len()].copy_from_slice(row);
    }
    Ok(from_pixels(size, pixels))
}

/// Pads the shorter side on both ends until the picture is square: LLaVA's `pad` mode.
///
/// # Errors
///
/// As [`pad`].
pub fn pad_to_square(image: &RgbImage, colour: Rgb<u8>) -> Result<RgbImage, Error> {
    let old = size_of(image);
    pad(image, Margins::centred(old, square_around(old)), colour)
}

/// The square around a size.
pub(super) fn square_around(size: Size) -> Size {
    let side = size.height.max(size.width);
    Size::new(side, side)
}

/// Adds zeros at the right and the bottom of planes.
///
/// # Shapes
/// - `[planes, old height, old width]` → `[planes, new height, new width]`
pub fn pad_planes(planes: &[f32], old: Size, new: Size) -> Vec<f32> {
    let count = planes.len() / (old.height * old.width);
    let mut padded = vec![0.0; count * new.height * new.width];
    let targets = padded.chunks_exact_mut(new.height * new.width);
    for (target, plane) in targets.zip(planes.chunks_exact(old.height * old.width)) {
        let rows = target.chunks_exact_mut(new.width);
        for (target, row) in rows.zip(plane.chunks_exact(old.width)) {
            target[..old.width].copy_from_slice(row);
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Rgb<u8> = Rgb([7, 8, 9]);

    #[test]
    fn an_odd_pixel_goes_to_the_right_and_the_bottom() {
        let tall = RgbImage::from_pixel(1, 4, Rgb([1, 2, 3]));
        let padded = pad_to_square(&tall, GREY).unwrap();
        let row: Vec<_> = (0..4).map(|x| padded[(x, 2)]).collect();
        assert_eq!(row, [GREY, Rgb([1, 2, 3]), GREY, GREY]);
        let wide = RgbImage::from_pixel(4, 1, Rgb([1, 2, 3]));
        let padded = pad_to_square(&wide, GREY).unwrap();
        assert_eq!(
            (padded.dimensions(), padded[(3, 1)]),
            ((4, 4), Rgb([1, 2, 3]))
        );
    }

    #[test]
    fn a_square_picture_stays_as_it_is() {
        let image = RgbImage::from_pixel(3, 3, Rgb([1, 2, 3]));
        assert_eq!(pad_to_square(&image, GREY).unwrap(), image);
    }

    #[test]
    fn what_would_be_too_large_is_refused() {
        let strip = RgbImage::new(30_000, 1);
        let error = pad_to_square(&strip, GREY).err().unwrap().to_string();
        assert!(error.contains("30000 x 30000 is more than"), "{error}");
        let margins = Margins {
            top: usize::MAX,
            ..Margins::default()
        };
        assert!(pad(&strip, margins, GREY).is_err());
    }

    #[test]
    fn planes_are_padded_at_the_right_and_the_bottom() {
        let padded = pad_planes(&[1.0, 2.0, 3.0, 4.0], Size::new(1, 2), Size::new(2, 3));
        let expected = [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(padded, expected);
    }
}
