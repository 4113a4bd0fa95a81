use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};

use super::{Area, canvas};

/// Writes words on plates.
pub struct LabelFont {
    font: FontRef<'static>,
    size: f32,
}

impl LabelFont {
    /// A font of `size` pixels from the highest to the lowest letter.
    pub fn new(size: f32) -> Self {
        let bytes = include_bytes!("../../fonts/DejaVuSans-Bold.ttf");
        Self {
            font: FontRef::try_from_slice(bytes).expect("the font in the repository is whole"),
            size,
        }
    }

    /// The plate that some words need, at the origin.
    pub fn plate(&self, words: &str) -> Area {
        let (_, width) = self.glyphs(words);
        let width = width.ceil() as i32 + 2 * self.margin();
        Area::sized(width, self.size.ceil() as i32)
    }

    /// The words on one line, their end cut off where the plate would be wider than `room`.
    pub fn shorten(&self, words: &str, room: i32) -> String {
        let words: Vec<&str> = words
            .split(|c: char| c.is_whitespace() || c.is_control())
            .collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mut words = words.join(" ");
        if self.plate(&words).width() <= room {
            return words;
        }
        while words.pop().is_some() {
            let cut = format!("{}…", words.trim_end());
            if self.plate(&cut).width() <= room {
                return cut;
            }
        }
        String::new()
    }

    /// Writes words onto their plate.
    pub fn write(&self, picture: &mut RgbImage, words: &str, plate: Area, color: Rgb<u8>) {
        let (glyphs, _) = self.glyphs(words);
        let (left, top) = (plate.x0 + self.margin(), plate.y0);
        for glyph in glyphs {
            let Some(outline) = self.font.outline_glyph(glyph) else {
                continue;
            };
            let bounds = outline.px_bounds();
            let (left, top) = (left + bounds.min.x as i32, top + bounds.min.y as i32);
            outline.draw(|x, y, coverage| {
                canvas::blend(picture, left + x as i32, top + y as i32, color, coverage);
            });
        }
    }

    fn margin(&self) -> i32 {
        (self.size / 4.0).ceil() as i32
    }

    /// Letters with their places from the line's upper left corner, and the line's width.
    fn glyphs(&self, words: &str) -> (Vec<Glyph>, f32) {
        let font = self.font.as_scaled(PxScale::from(self.size));
        let (mut glyphs, mut x, mut last) = (Vec::new(), 0.0, None);
        for letter in words.chars() {
            let id = font.glyph_id(letter);
            x += last.map_or(0.0, |last| font.kern(last, id));
            // Whole pixels below keep the lines of all letters equally sharp.
            let place = point(x, font.ascent().round());
            glyphs.push(id.with_scale_and_position(self.size, place));
            x += font.h_advance(id);
            last = Some(id);
        }
        (glyphs, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_to_their_room() {
        let font = LabelFont::new(16.0);
        assert_eq!(font.shorten(" a\n man \t", 1000), "a man");
        let cut = font.shorten("a man in a blue shirt", 100);
        assert!(cut.starts_with("a man") && cut.ends_with('…'), "{cut}");
        assert!(font.plate(&cut).width() <= 100);
        assert_eq!(font.shorten("wide", 5), "");
        assert_eq!(font.shorten("", 100), "");
    }

    #[test]
    fn letters_stay_on_their_plate() {
        let font = LabelFont::new(20.0);
        let words = "ÄgÜjŷЩ Œœ Quick";
        let plate = font.plate(words).at(4, 4);
        let mut picture = RgbImage::new(400, 40);
        font.write(&mut picture, words, plate, Rgb([255; 3]));
        let mut count = 0;
        for (x, y, pixel) in picture.enumerate_pixels() {
            if pixel.0 != [0; 3] {
                let spot = Area::sized(1, 1).at(x as i32, y as i32);
                // Capitals with accents are higher than a font's height.
                assert!(plate.grown(1).contains(spot), "{x}, {y} of {plate:?}");
                count += 1;
            }
        }
        assert!(count > 200, "{count}");
    }
}
