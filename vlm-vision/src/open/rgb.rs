//! Every kind of pixel as RGB bytes.

use image::{DynamicImage, RgbImage};

/// Drops alpha, repeats grey, takes the high byte of 16 bits.
pub(super) fn from_dynamic(picture: DynamicImage) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let pixels = match picture {
        DynamicImage::ImageRgb8(picture) => return picture,
        DynamicImage::ImageLuma8(picture) => from_grey(picture.as_raw(), 1),
        DynamicImage::ImageLumaA8(picture) => from_grey(picture.as_raw(), 2),
        DynamicImage::ImageRgba8(picture) => from_rgba(picture.as_raw()),
        DynamicImage::ImageLuma16(picture) => from_grey(&high_bytes(picture.as_raw()), 1),
        DynamicImage::ImageLumaA16(picture) => from_grey(&high_bytes(picture.as_raw()), 2),
        DynamicImage::ImageRgb16(picture) => high_bytes(picture.as_raw()),
        DynamicImage::ImageRgba16(picture) => from_rgba(&high_bytes(picture.as_raw())),
        other => return other.into_rgb8(),
    };
    RgbImage::from_raw(width, height, pixels).expect("three values a pixel")
}

fn from_grey(values: &[u8], channels: usize) -> Vec<u8> {
    values
        .chunks_exact(channels)
        .flat_map(|pixel| [pixel[0]; 3])
        .collect()
}

fn from_rgba(values: &[u8]) -> Vec<u8> {
    values
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

fn high_bytes(values: &[u16]) -> Vec<u8> {
    values.iter().map(|value| (value >> 8) as u8).collect()
}

/// Pillow's CMYK to RGB: the product of the complements, rounded.
pub(super) fn from_cmyk([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = 255 - u32::from(black);
    [cyan, magenta, yellow].map(|ink| {
        let product = u32::from(ink) * light + 128;
        let shade = ((product >> 8) + product) >> 8;
        light.saturating_sub(shade) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_keep_their_high_byte() {
        let wide = image::ImageBuffer::from_raw(2, 1, vec![0x12ff_u16, 0xff00]).unwrap();
        let picture = from_dynamic(DynamicImage::ImageLuma16(wide));
        assert_eq!(picture.as_raw(), &[0x12, 0x12, 0x12, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn alpha_is_dropped_and_not_blended() {
        let clear = image::ImageBuffer::from_raw(1, 1, vec![10_u8, 20, 30, 0]).unwrap();
        assert_eq!(
            from_dynamic(DynamicImage::ImageRgba8(clear)).as_raw(),
            &[10, 20, 30]
        );
    }

    #[test]
    fn inks_take_light_away() {
        assert_eq!(from_cmyk([0, 0, 0, 0]), [255; 3]);
        assert_eq!(from_cmyk([0, 0, 0, 255]), [0; 3]);
        assert_eq!(from_cmyk([255, 128, 0, 55]), [0, 100, 200]);
    }
}
