//! Choosing a grid of tiles for a picture, and the picture's size in it.

use vlm_core::Size;

/// The resolution that keeps most of a picture's pixels, and among equals the one that adds least.
///
/// The first of equals wins, so the order of `pinpoints` matters: `select_best_resolution` in
/// transformers' `image_processing_utils.py`. `None` when there is nothing to choose from.
///
/// ```
/// use vlm_core::Size;
/// use vlm_vision::processor::best_resolution;
/// let pinpoints = [Size::new(336, 672), Size::new(672, 336), Size::new(672, 672)];
/// assert_eq!(best_resolution(Size::new(300, 500), &pinpoints), Some(pinpoints[0]));
/// assert_eq!(best_resolution(Size::new(480, 640), &pinpoints), Some(pinpoints[2]));
/// ```
///
/// # Panics
///
/// When `original` has no pixels.
pub fn best_resolution(original: Size, pinpoints: &[Size]) -> Option<Size> {
    assert!(
        original.height > 0 && original.width > 0,
        "a picture without pixels has no resolution"
    );
    let pixels = original.height as u128 * original.width as u128;
    let waste = |pinpoint: &Size| {
        let (width, height) = (original.width as f64, original.height as f64);
        let scale = (pinpoint.width as f64 / width).min(pinpoint.height as f64 / height);
        let scaled = |side: f64| (side * scale) as u128;
        let effective = pixels.min(scaled(width) * scaled(height));
        let all = pinpoint.height as u128 * pinpoint.width as u128;
        // A scale that was rounded up never makes more of the picture than the resolution has.
        (std::cmp::Reverse(effective), all.saturating_sub(effective))
    };
    pinpoints.iter().copied().min_by_key(waste)
}

/// The size of a picture that fills `resolution` along one axis and keeps its aspect ratio; fractions
/// on the other axis are rounded up.
///
/// ```
/// use vlm_core::Size;
/// use vlm_vision::processor::size_within;
/// assert_eq!(size_within(Size::new(300, 500), Size::new(336, 672)), Size::new(336, 560));
/// assert_eq!(size_within(Size::new(1, 1000), Size::new(336, 672)), Size::new(1, 672));
/// ```
///
/// # Panics
///
/// When `original` has no pixels.
pub fn size_within(original: Size, resolution: Size) -> Size {
    assert!(
        original.height > 0 && original.width > 0,
        "a picture without pixels has no aspect ratio"
    );
    let vertical = resolution.height as f64 / original.height as f64;
    let horizontal = resolution.width as f64 / original.width as f64;
    if horizontal < vertical {
        let height = (original.height as f64 * horizontal).ceil() as usize;
        Size::new(height.min(resolution.height), resolution.width)
    } else {
        let width = (original.width as f64 * vertical).ceil() as usize;
        Size::new(resolution.height, width.min(resolution.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_wins() {
        let (wide, tall) = (Size::new(336, 672), Size::new(672, 336));
        let square = Size::new(336, 336);
        assert_eq!(best_resolution(square, &[wide, tall]), Some(wide));
        assert_eq!(best_resolution(square, &[tall, wide]), Some(tall));
        assert_eq!(best_resolution(square, &[]), None);
    }

    #[test]
    fn a_picture_of_which_nothing_is_left_gets_the_smallest_resolution() {
        let pinpoints = [Size::new(672, 672), Size::new(336, 672)];
        assert_eq!(
            best_resolution(Size::new(1, 5000), &pinpoints),
            Some(pinpoints[1])
        );
    }
}
