//! What every step on pictures needs: building one, its size, and an error about one.

use image::RgbImage;
use vlm_core::{Error, Size};

/// Most pixels that a picture may have after a step; more is taken for a mistake in its shape.
pub const MAX_PIXELS: usize = 1 << 29;

/// Height and width of a picture.
///
/// ```
/// let picture = image::RgbImage::new(640, 480);
/// assert_eq!(vlm_vision::processor::size_of(&picture), vlm_core::Size::new(480, 640));
/// ```
pub fn size_of(image: &RgbImage) -> Size {
    Size::new(image.height() as usize, image.width() as usize)
}

/// A picture from its interleaved values.
pub(super) fn from_pixels(size: Size, pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(size.width as u32, size.height as u32, pixels).expect("three values a pixel")
}

/// An error about a picture of this size.
pub(super) fn refusal(size: Size, message: impl Into<String>) -> Error {
    let name = format!("of height {} and width {}", size.height, size.width);
    Error::Image {
        name,
        message: message.into(),
    }
}

/// Refuses a step from a picture or to a picture that is empty or too large.
pub(super) fn check_step(from: Size, to: Size) -> Result<(), Error> {
    if from.height == 0 || from.width == 0 {
        return Err(refusal(from, "it has no pixels"));
    }
    let Size { height, width } = to;
    if height == 0 || width == 0 {
        return Err(refusal(
            from,
            format!("nothing is left of it at {height} x {width}"),
        ));
    }
    let taller = height.max(from.height);
    match width.checked_mul(taller) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(()),
        _ => {
            let message = format!("{height} x {width} is more than {MAX_PIXELS} pixels");
            Err(refusal(from, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_from_or_to_nothing_are_refused() {
        let error = check_step(Size::new(0, 3), Size::new(2, 2))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "image of height 0 and width 3: it has no pixels");
        let error = check_step(Size::new(1, 900), Size::new(0, 2))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "image of height 1 and width 900: nothing is left of it at 0 x 2"
        );
    }

    #[test]
    fn steps_to_a_huge_picture_are_refused() {
        let error = check_step(Size::new(1, 1), Size::new(1 << 15, 1 << 15))
            .unwrap_err()
            .to_string();
        assert!(error.contains("32768 x 32768 is more than"), "{error}");
        assert!(check_step(Size::new(1, 1), Size::new(usize::MAX, 2)).is_err());
        check_step(Size::new(1, 1), Size::new(1 << 15, 1 << 14)).unwrap();
    }
}
