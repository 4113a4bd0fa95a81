//! Resizing as torchvision does it on `uint8`.

use std::borrow::Cow;

use image::RgbImage;
use rayon::prelude::*;
use vlm_core::{Error, Size};

use super::picture::{check_step, from_pixels, size_of};
use super::resample::Resample;
use super::taps::Taps;

/// Resizes a picture as torchvision's `resize` does on `uint8`, antialiased, bit for bit.
///
/// Convolutions run along the width first and along the height second, and the picture between the two
/// is rounded to `u8`: both are visible in the result, so they are part of the contract. (Pillow rounds
/// in the same way but picks its order by shape; its results are up to 15 levels away.)
///
/// # Errors
///
/// When the picture or the new size is empty, or the result has more than
/// [`MAX_PIXELS`](super::MAX_PIXELS) pixels.
pub fn resize(image: &RgbImage, size: Size, resample: Resample) -> Result<RgbImage, Error> {
    let old = size_of(image);
    check_step(old, size)?;
    if resample == Resample::Nearest {
        return Ok(nearest(image, size));
    }
    let mut pixels = Cow::Borrowed(image.as_raw());
    if old.width != size.width {
        let taps = Taps::new(old.width, size.width, resample);
        pixels = Cow::Owned(along_width(&pixels, [old.width, size.width], &taps));
    }
    if old.height != size.height {
        let taps = Taps::new(old.height, size.height, resample);
        pixels = Cow::Owned(along_height(&pixels, size.width, &taps));
    }
    Ok(from_pixels(size, pixels.into_owned()))
}

/// Rows that one core takes at least.
const ROWS: usize = 16;

fn along_width(pixels: &[u8], [old, new]: [usize; 2], taps: &Taps) -> Vec<u8> {
    let mut result = vec![0; pixels.len() / old * new];
    let rows = pixels.par_chunks_exact(3 * old).with_min_len(ROWS);
    let rows = result.par_chunks_exact_mut(3 * new).zip(rows);
    rows.for_each(|(to, row)| {
        for (to, (first, weights)) in to.as_chunks_mut::<3>().0.iter_mut().zip(taps.iter()) {
            let mut sums = [1_i32 << (taps.precision - 1); 3];
            for (pixel, &weight) in row[3 * first..].chunks_exact(3).zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(weight) * i32::from(value);
                }
            }
            *to = sums.map(|sum| round(sum, taps.precision));
        }
    });
    result
}

fn along_height(pixels: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    let stride = 3 * width;
    let spans: Vec<_> = taps.iter().collect();
    let mut result = vec![0; stride * spans.len()];
    let rows = result.par_chunks_exact_mut(stride).with_min_len(ROWS);
    rows.zip(spans).for_each_init(
        || vec![0_i32; stride],
        |sums, (to, (first, weights))| {
            sums.fill(1 << (taps.precision - 1));
            for (row, &weight) in pixels[stride * first..].chunks_exact(stride).zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(weight) * i32::from(value);
                }
            }
            for (to, &sum) in to.iter_mut().zip(&*sums) {
                *to = round(sum, taps.precision);
            }
        },
    );
    result
}

fn round(sum: i32, precision: u32) -> u8 {
    (sum >> precision).clamp(0, 255) as u8
}

fn nearest(image: &RgbImage, size: Size) -> RgbImage {
    let old = size_of(image);
    let columns = nearest_sources(old.width, size.width, size);
    let mut pixels = Vec::with_capacity(3 * size.width * size.height);
    for row in nearest_sources(old.height, size.height, size) {
        let row = &image.as_raw()[3 * old.width * row..][..3 * old.width];
        for &column in &columns {
            pixels.extend_from_slice(&row[3 * column..][..3]);
        }
    }
    from_pixels(size, pixels)
}

/// The source of each of `new` pixels along an axis, rounded as torch's `nearest-exact` rounds.
///
/// Torch computes in single precision and has two kernels, which place centres differently where the
/// scale is not exact; it takes the first for results of at most 128 rows and columns together.
fn nearest_sources(old: usize, new: usize, size: Size) -> Vec<usize> {
    let scale = old as f32 / new as f32;
    let source = |i: usize| match size.height + size.width <= 128 {
        true => scale * (i as f32 + 0.5),
        false => scale.mul_add(i as f32 + 0.5, -0.5).max(0.0) + 0.5,
    };
    (0..new)
        .map(|i| (source(i) as usize).min(old - 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resample; 4] = [
        Resample::Nearest,
        Resample::Lanczos,
        Resample::Bilinear,
        Resample::Bicubic,
    ];

    fn noise(height: u32, width: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([x * 7 + y, x * y, x ^ y].map(|v| v as u8))
        })
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        for resample in ALL {
            assert_eq!(
                resize(&noise(5, 7), Size::new(5, 7), resample).unwrap(),
                noise(5, 7)
            );
        }
    }

    #[test]
    fn a_flat_picture_stays_flat_at_any_size() {
        let flat = RgbImage::from_pixel(13, 9, image::Rgb([0, 131, 255]));
        for resample in ALL {
            for (height, width) in [(1, 1), (1, 50), (300, 2), (4, 13), (9, 3)] {
                let resized = resize(&flat, Size::new(height, width), resample).unwrap();
                assert_eq!(size_of(&resized), Size::new(height, width));
                assert!(
                    resized.pixels().all(|pixel| pixel.0 == [0, 131, 255]),
                    "{resample:?}"
                );
            }
        }
    }

    #[test]
    fn nearest_takes_the_pixel_under_the_centre() {
        assert_eq!(nearest_sources(4, 2, Size::new(2, 2)), [1, 3]);
        assert_eq!(nearest_sources(2, 5, Size::new(5, 5)), [0, 0, 1, 1, 1]);
        // Exact arithmetic gives 1 for both middles; torch rounds one of them down.
        assert_eq!(nearest_sources(2, 41, Size::new(1, 41))[20], 0);
        assert_eq!(nearest_sources(2, 41, Size::new(100, 41))[20], 1);
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(resize(&noise(0, 3), Size::new(1, 1), Resample::Bicubic).is_err());
        assert!(resize(&noise(3, 3), Size::new(0, 1), Resample::Bicubic).is_err());
        let error = resize(
            &noise(1, 60_000),
            Size::new(336, 20_160_000),
            Resample::Bicubic,
        )
        .unwrap_err();
        assert!(
            error.to_string().contains("336 x 20160000 is more than"),
            "{error}"
        );
    }
}
