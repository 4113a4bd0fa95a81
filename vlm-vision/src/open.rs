//! Reading pictures from files.
//!
//! One rule for every kind of file, that of transformers' `load_image`: Pillow's decoded picture, turned
//! as its EXIF (else XMP) orientation says, then `convert("RGB")`. So alpha is dropped, not blended;
//! palettes are looked up, transparent entries too; grey is repeated; of 16 bits the high byte is taken;
//! CMYK is `(255 - ink) * (255 - black) / 255`; animations give their first frame; the format is told
//! from the content. (Handed a Pillow picture that still has its alpha, an image processor of
//! transformers 5.23 blends it with white; neither of the library's loaders hands it one.)
//!
//! JPEG goes through the code that Pillow uses, and lossy WebP was equal in all that was measured.
//!
//! Deviations, by name:
//!
//! - **16-bit grey** gives the high byte. Pillow clips at 255, so nearly every such picture is white.
//! - **TIFF with CMYK or with JPEG inside** goes through other arithmetic, up to one level away.
//! - **Refused**, though Pillow reads them: TIFF with a palette, YCbCr, grey with alpha, or 32 bits a
//!   channel; arithmetic-coded JPEG; a BMP or PNG that lacks its last bytes.

mod jpeg;
mod orientation;
mod rgb;

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use vlm_core::Error;

/// Most pixels of a picture in a file: where Pillow suspects a decompression bomb.
const MAX_PIXELS: u64 = 178_956_970;

/// Reads a picture file: PNG, JPEG, WebP, GIF, BMP or TIFF.
///
/// # Errors
///
/// Names the file when it cannot be read, is damaged, or is no such picture.
pub fn open(path: impl AsRef<Path>) -> Result<RgbImage, Error> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    decode(&bytes, &path.display().to_string())
}

/// Reads a picture from a file's bytes; `name` is what errors call it.
///
/// # Errors
///
/// As [`open`].
pub fn decode(bytes: &[u8], name: &str) -> Result<RgbImage, Error> {
    decode_any(bytes).map_err(|message| Error::Image {
        name: name.to_owned(),
        message,
    })
}

fn decode_any(bytes: &[u8]) -> Result<RgbImage, String> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| e.to_string())?;
    match reader.format() {
        Some(ImageFormat::Jpeg) => jpeg::decode(bytes),
        Some(
            ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Gif
            | ImageFormat::Bmp
            | ImageFormat::Tiff,
        ) => decode_others(reader),
        _ if bytes.is_empty() => Err("the file is empty".to_owned()),
        _ => Err("not a PNG, JPEG, WebP, GIF, BMP or TIFF picture".to_owned()),
    }
}

fn decode_others(mut reader: ImageReader<Cursor<&[u8]>>) -> Result<RgbImage, String> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * MAX_PIXELS);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| one_line(&error))?;
    let orientation = orientation::of(&mut decoder).map_err(|error| one_line(&error))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| one_line(&error))?;
    let mut picture = DynamicImage::ImageRgb8(rgb::from_dynamic(picture));
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

fn check_size(width: u32, height: u32) -> Result<(), String> {
    match u64::from(width) * u64::from(height) {
        0 => Err("it has no pixels".to_owned()),
        pixels if pixels > MAX_PIXELS => Err(format!(
            "{width} x {height} is more than {MAX_PIXELS} pixels"
        )),
        _ => Ok(()),
    }
}

fn one_line(error: &dyn std::error::Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
