//! Boxes and points of an answer on its picture.
//!
//! Whatever lies below, a line is seen: it is bright and has a dark edge on both sides. A label stands on a plate
//! of its entity's colour, near its box, inside the picture, and on no other label where there is room.

mod area;
mod canvas;
mod colors;
mod font;
mod labels;

use image::RgbImage;
use vlm::chat_template::grounding::{BoundingBox, Entity, Point};

use area::Area;
use colors::{DARK, color, ink};
use font::LabelFont;
use labels::Labels;

/// What was drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Rectangles.
    pub boxes: usize,
    /// Points.
    pub points: usize,
    /// Whether labels were left out, since the picture has no room for words.
    pub unlabelled: bool,
}

/// Widths by the size of the picture, in pixels.
struct Style {
    line: i32,
    edge: i32,
    radius: i32,
    font: LabelFont,
}

/// Draws every box and point with its words; each entity has a colour. One without words of the answer has its
/// number, counted from 1.
///
/// What lies outside of the picture is drawn at its border, and a box without an area as a dot or a line. A
/// picture of less than 96 pixels in width or 40 in height has no room for labels.
pub fn draw(picture: &mut RgbImage, entities: &[Entity]) -> Drawn {
    let whole = Area::of(picture);
    let mut drawn = Drawn::default();
    if whole.is_empty() {
        return drawn;
    }
    let style = Style::of(whole);
    // Number and words of an entity, one of its places.
    let mut places = Vec::new();
    for (index, entity) in entities.iter().enumerate() {
        let words = words(index, entity);
        for one in &entity.boxes {
            let place = box_area(*one, whole);
            style.frame(picture, place, index);
            places.push((index, words.clone(), place));
            drawn.boxes += 1;
        }
        for point in &entity.points {
            let place = style.disc(picture, *point, index);
            places.push((index, words.clone(), place));
            drawn.points += 1;
        }
    }
    drawn.unlabelled = !places.is_empty() && !whole.contains(LEAST);
    if drawn.unlabelled {
        return drawn;
    }
    let mut labels = Labels::new(whole, places.iter().map(|(_, _, place)| *place).collect());
    for (index, words, place) in places {
        let room = style.room(whole).max(place.width());
        let words = style.font.shorten(&words, room);
        if words.is_empty() {
            continue;
        }
        let plate = labels.put(style.font.plate(&words), place);
        let color = color(index);
        canvas::fill(picture, plate.grown(style.edge), DARK, EDGE);
        canvas::fill(picture, plate, color, 1.0);
        style.font.write(picture, &words, plate, ink(color));
    }
    drawn
}

fn words(index: usize, entity: &Entity) -> String {
    match entity.start == entity.end {
        true => (index + 1).to_string(),
        false => entity.text.clone(),
    }
}

/// Opacity of the dark edges.
const EDGE: f32 = 0.7;

/// What labels need.
const LEAST: Area = Area {
    x0: 0,
    y0: 0,
    x1: 96,
    y1: 40,
};

impl Style {
    fn of(picture: Area) -> Self {
        let side = (f64::from(picture.width()) * f64::from(picture.height())).sqrt();
        let line = (side / 320.0).round().max(1.0) as i32;
        // Of a strip, its short side decides.
        let most = f64::from(picture.height().min(picture.width()) / 3);
        Self {
            line,
            edge: (line + 1) / 2,
            radius: 2 * line + 1,
            font: LabelFont::new((side / 34.0).clamp(13.0, most.clamp(13.0, 120.0)) as f32),
        }
    }

    /// How wide a label may be that is wider than its box: half the picture, and some ten letters in a small one.
    fn room(&self, picture: Area) -> i32 {
        let letters = 7 * self.font.plate("").height();
        (picture.width() / 2).max(letters).min(picture.width())
    }

    /// The line lies inside of the box, its outer border on the box's.
    fn frame(&self, picture: &mut RgbImage, place: Area, index: usize) {
        canvas::frame(picture, place.grown(self.edge), self.edge, DARK, EDGE);
        let inside = place.grown(-self.line);
        // In a small box the second edge would hide what the box is about.
        if inside.width().min(inside.height()) > 6 * self.edge {
            canvas::frame(picture, inside, self.edge, DARK, EDGE);
        }
        canvas::frame(picture, place, self.line, color(index), 1.0);
    }

    fn disc(&self, picture: &mut RgbImage, point: Point, index: usize) -> Area {
        let whole = Area::of(picture);
        let spot = box_area(BoundingBox::new(point.x, point.y, point.x, point.y), whole);
        let outer = self.radius + self.edge;
        canvas::disc(picture, spot, outer, DARK, EDGE);
        canvas::disc(picture, spot, self.radius, color(index), 1.0);
        spot.grown(outer).within(whole)
    }
}

/// A box's pixels, at least one, whatever the order of its corners.
fn box_area(one: BoundingBox, picture: Area) -> Area {
    let (width, height) = (picture.width(), picture.height());
    let [x0, y0, x1, y1] = one.to_pixels(height as usize, width as usize);
    let span = |a: f64, b: f64, side: i32| {
        let low = (a.min(b).round() as i32).clamp(0, side - 1);
        let high = (a.max(b).round() as i32).clamp(low + 1, side);
        (low, high)
    };
    let ((x0, x1), (y0, y1)) = (span(x0, x1, width), span(y0, y1, height));
    Area { x0, y0, x1, y1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn entity(text: &str, boxes: &[[f64; 4]], points: &[[f64; 2]]) -> Entity {
        Entity {
            text: text.to_owned(),
            start: 0,
            end: 1,
            boxes: boxes.iter().copied().map(BoundingBox::from).collect(),
            points: points.iter().copied().map(Point::from).collect(),
        }
    }

    fn grey(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, Rgb([128; 3]))
    }

    #[test]
    fn a_line_lies_on_its_box() {
        let mut picture = grey(320, 320);
        let drawn = draw(&mut picture, &[entity("", &[[0.25, 0.5, 0.75, 0.9]], &[])]);
        assert_eq!((drawn.boxes, drawn.points, drawn.unlabelled), (1, 0, false));
        let colored = |picture: &RgbImage| -> Vec<(u32, u32)> {
            let pixels = picture.enumerate_pixels();
            let pixels = pixels.filter(|(_, _, pixel)| **pixel == color(0));
            pixels.map(|(x, y, _)| (x, y)).collect()
        };
        let on_box = |(x, y): &(u32, u32)| {
            let columns = (80..240).contains(x) && [160, 287].contains(y);
            let rows = (160..288).contains(y) && [80, 239].contains(x);
            columns || rows
        };
        let found = colored(&picture);
        assert!(found.iter().all(on_box), "{found:?}");
        assert_eq!(found.len(), 2 * (160 + 128) - 4);
        // Its edges are dark, and nothing else has changed.
        assert!(picture.get_pixel(79, 200).0[0] < 64 && picture.get_pixel(81, 200).0[0] < 64);
        assert_eq!(picture.get_pixel(78, 200), &Rgb([128; 3]));
        assert_eq!(picture.get_pixel(160, 220), &Rgb([128; 3]));
    }

    #[test]
    fn a_box_has_pixels_whatever_its_corners() {
        let area = |edges: [f64; 4]| {
            let Area { x0, y0, x1, y1 } = box_area(edges.into(), Area::sized(100, 50));
            [x0, y0, x1, y1]
        };
        assert_eq!(area([0.1, 0.2, 0.5, 1.0]), [10, 10, 50, 50]);
        assert_eq!(area([0.5, 1.0, 0.1, 0.2]), [10, 10, 50, 50]);
        assert_eq!(area([0.3, 0.4, 0.3, 0.4]), [30, 20, 31, 21]);
        assert_eq!(area([1.0, 1.0, 1.0, 1.0]), [99, 49, 100, 50]);
        assert_eq!(area([-2.0, 0.2, -1.0, 0.4]), [0, 10, 1, 20]);
        assert_eq!(area([f64::NAN, f64::NAN, 0.5, 0.5]), [50, 25, 51, 26]);
    }

    #[test]
    fn a_point_lies_on_its_pixel() {
        let mut picture = grey(320, 320);
        draw(&mut picture, &[entity("", &[], &[[0.5, 0.25]])]);
        assert_eq!(picture.get_pixel(160, 80), &color(0));
        assert_eq!(picture.get_pixel(160, 90), &Rgb([128; 3]));
    }

    #[test]
    fn what_has_no_words_has_a_number() {
        let mut entity = entity("<box>1, 2, 3, 4</box>", &[], &[]);
        entity.end = entity.start;
        assert_eq!(words(1, &entity), "2");
        entity.end = 5;
        assert_eq!(words(1, &entity), entity.text);
    }

    #[test]
    fn nothing_to_draw_changes_nothing() {
        let mut picture = grey(64, 64);
        assert_eq!(
            draw(&mut picture, &[entity("a", &[], &[])]),
            Drawn::default()
        );
        assert_eq!(picture, grey(64, 64));
    }

    #[test]
    fn any_box_on_any_picture() {
        let nan = f64::NAN;
        let boxes = [
            [0.0, 0.0, 1.0, 1.0],
            [0.9, 0.9, 0.1, 0.1],
            [0.5, 0.5, 0.5, 0.5],
            [1.0, 1.0, 1.0, 1.0],
            [-3.0, -2.0, -1.0, -1.0],
            [2.0, 2.0, 3.0, f64::INFINITY],
            [nan, nan, nan, nan],
        ];
        let points = [[0.0, 0.0], [1.0, 1.0], [-5.0, 9.0], [nan, 0.5]];
        let all = [
            entity(
                "a thing with a very long name \n 😀 \0 that goes on",
                &boxes,
                &points,
            ),
            entity("", &boxes, &points),
        ];
        for (width, height) in [
            (0, 0),
            (1, 1),
            (1, 300),
            (300, 1),
            (7, 5),
            (95, 95),
            (96, 40),
            (640, 480),
        ] {
            let mut picture = grey(width, height);
            let drawn = draw(&mut picture, &all);
            if width > 0 {
                assert_eq!((drawn.boxes, drawn.points), (14, 8));
                assert_eq!(drawn.unlabelled, width < 96 || height < 40);
            }
        }
    }
}
