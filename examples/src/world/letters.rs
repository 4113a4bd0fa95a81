use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use super::canvas::{Area, Canvas, Paint};

/// The fonts of the pictures; `examples/world/fonts/LICENSE.md` says whose they are.
pub const FONTS: [&[u8]; 6] = [
    include_bytes!("../../world/fonts/sans.ttf"),
    include_bytes!("../../world/fonts/sans-bold.ttf"),
    include_bytes!("../../world/fonts/humanist-bold.ttf"),
    include_bytes!("../../world/fonts/serif-bold.ttf"),
    include_bytes!("../../world/fonts/slab-bold.otf"),
    include_bytes!("../../world/fonts/mono-bold.ttf"),
];

static FACES: LazyLock<Vec<FontRef<'static>>> = LazyLock::new(|| {
    let face =
        |bytes: &&'static [u8]| FontRef::try_from_slice(bytes).expect("a committed font is whole");
    FONTS.iter().map(face).collect()
});

/// Draws a line of capitals and digits that is `height` high (the letters, not the font's line) with its upper
/// left corner at `corner`; returns the area that it covers.
pub fn write(
    canvas: &mut Canvas,
    font: usize,
    text: &str,
    corner: [f32; 2],
    height: f32,
    paint: Paint,
) -> Area {
    let side = canvas.side() as f32;
    let mut covered = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    each_glyph(font, text, corner, height, side, |column, row, coverage| {
        if coverage > 0.35 {
            let (x, y) = (column as f32 / side, row as f32 / side);
            covered = [
                covered[0].min(x),
                covered[1].min(y),
                covered[2].max(x + 1.0 / side),
                covered[3].max(y + 1.0 / side),
            ];
        }
        canvas.blend(column, row, paint, coverage);
    });
    covered
}

/// How wide a line would be, in shares of the picture's side.
pub fn width(font: usize, text: &str, height: f32) -> f32 {
    let face = &FACES[font];
    let scaled = face.as_scaled(scale(font, height));
    let mut width = 0.0;
    let mut last = None;
    for glyph in text.chars().map(|letter| face.glyph_id(letter)) {
        width += last.map_or(0.0, |last| scaled.kern(last, glyph)) + scaled.h_advance(glyph);
        last = Some(glyph);
    }
    width
}

/// The scale at which a capital is `height` high.
fn scale(font: usize, height: f32) -> PxScale {
    let face = &FACES[font];
    let reference = PxScale::from(1000.0);
    let glyph = face.glyph_id('H').with_scale(reference);
    let capital = face
        .outline_glyph(glyph)
        .map_or(700.0, |outline| outline.px_bounds().height());
    PxScale::from(1000.0 * height / capital)
}

fn each_glyph(
    font: usize,
    text: &str,
    corner: [f32; 2],
    height: f32,
    side: f32,
    mut draw: impl FnMut(usize, usize, f32),
) {
    let face = &FACES[font];
    let scale = scale(font, height * side);
    let scaled = face.as_scaled(scale);
    let baseline = (corner[1] + height) * side;
    let mut caret = corner[0] * side;
    let mut last = None;
    for letter in text.chars() {
        let id = face.glyph_id(letter);
        caret += last.map_or(0.0, |last| scaled.kern(last, id));
        last = Some(id);
        let glyph = id.with_scale_and_position(scale, point(caret, baseline));
        caret += scaled.h_advance(id);
        let Some(outline) = face.outline_glyph(glyph) else {
            continue;
        };
        let bounds = outline.px_bounds();
        outline.draw(|x, y, coverage| {
            let (column, row) = (bounds.min.x + x as f32, bounds.min.y + y as f32);
            if column >= 0.0 && row >= 0.0 {
                draw(column as usize, row as usize, coverage);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_as_high_and_as_wide_as_they_say() {
        for font in 0..FONTS.len() {
            let mut canvas = Canvas::new(200, |_, _| [0.0; 3]);
            let area = write(&mut canvas, font, "HUH", [0.1, 0.2], 0.3, [1.0; 3]);
            let (expected, height) = (width(font, "HUH", 0.3), area[3] - area[1]);
            assert!((height - 0.3).abs() < 0.02, "font {font}: {height} high");
            let found = area[2] - 0.1;
            assert!(
                (found - expected).abs() < 0.06,
                "font {font}: {found} for {expected}"
            );
        }
    }

    #[test]
    fn every_font_has_every_capital_and_digit() {
        for (font, face) in FACES.iter().enumerate() {
            for letter in ('A'..='Z').chain('0'..='9') {
                assert_ne!(face.glyph_id(letter).0, 0, "font {font} lacks {letter}");
            }
        }
    }
}
