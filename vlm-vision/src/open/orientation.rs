//! Which way up a picture is.

use image::metadata::Orientation;
use image::{ImageDecoder, ImageResult};

/// The orientation that a file's EXIF data gives, else its XMP data.
pub(super) fn of(decoder: &mut impl ImageDecoder) -> ImageResult<Orientation> {
    let exif = decoder.exif_metadata()?;
    let xmp = decoder.xmp_metadata()?;
    match from_metadata(exif.as_deref(), xmp.as_deref()) {
        Some(orientation) => Ok(orientation),
        // TIFF files keep it in a tag of their own.
        None => decoder.orientation(),
    }
}

/// The orientation in an EXIF block (without its `Exif` header) or an XMP packet.
pub(super) fn from_metadata(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Option<Orientation> {
    exif.and_then(Orientation::from_exif_chunk)
        .or_else(|| from_xmp(xmp?))
}

/// Finds `tiff:Orientation="6"` or `<tiff:Orientation>6`.
fn from_xmp(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut candidates = xmp
        .windows(NAME.len() + 3)
        .filter(|window| window.starts_with(NAME));
    candidates.find_map(|window| match &window[NAME.len()..] {
        [b'=', b'"', digit] | [b'>', digit, _] => {
            digit.checked_sub(b'0').and_then(Orientation::from_exif)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_is_read_as_an_attribute_and_as_an_element() {
        let attribute = br#"<rdf:Description tiff:Orientation="6" />"#;
        assert_eq!(
            from_metadata(None, Some(attribute)),
            Some(Orientation::Rotate90)
        );
        let element = b"<tiff:Orientation>3</tiff:Orientation>";
        assert_eq!(
            from_metadata(None, Some(element)),
            Some(Orientation::Rotate180)
        );
        for none in [
            &b"tiff:Orientation"[..],
            b"",
            b"tiff:Orientation=\"9\"",
            b"<tiff:Orientation>x<",
        ] {
            assert_eq!(from_metadata(None, Some(none)), None);
        }
    }

    #[test]
    fn damaged_exif_is_no_orientation() {
        assert_eq!(from_metadata(Some(b"II*\0"), None), None);
    }
}
