use std::sync::LazyLock;

use image::GrayImage;
use rand::Rng;

use super::{
    background::Background,
    canvas::{Area, Canvas, Paint},
    colour::{Colour, visible},
    location,
    question::{Fact, Kind, Question},
    split::Split,
};

/// Pixels along a side of a digit.
const SIDE: u32 = 8;
/// Digits in a row of the sheet.
const COLUMNS: u32 = 40;
/// One of so many is shown in the held-out split alone.
const HELD_OUT: usize = 5;

/// 1,797 handwritten digits, 8 × 8 pixels each; `examples/world/digits/LICENSE.md` says whose they are.
static SHEET: LazyLock<GrayImage> = LazyLock::new(|| {
    let bytes = include_bytes!("../../world/digits/digits.png");
    image::load_from_memory(bytes)
        .expect("the committed sheet is whole")
        .into_luma8()
});
const LABELS: &str = include_str!("../../world/digits/labels.txt");

/// One handwritten digit, or two that make a number.
#[derive(Clone, Debug)]
pub struct Digits {
    digits: Vec<Digit>,
    colour: Colour,
    paint: Paint,
}

/// One digit.
#[derive(Clone, Debug)]
pub struct Digit {
    index: usize,
    centre: [f32; 2],
    radius: f32,
    turn: f32,
    slant: f32,
}

impl Digits {
    /// Some digits.
    pub fn random(split: Split, background: &Background, random: &mut impl Rng) -> Self {
        let count = if random.random_bool(0.65) { 1 } else { 2 };
        let share = 1.0 / count as f32;
        let radius = match count {
            1 => random.random_range(0.2f32..0.44),
            _ => random.random_range(0.16f32..0.24),
        };
        let colour = visible(background.middle(), random);
        let height = random.random_range(radius..=1.0 - radius);
        let digits = (0..count).map(|place| {
            let middle = share * (place as f32 + 0.5);
            let room = (share / 2.0 - radius).max(0.0);
            let centre = [
                middle + random.random_range(-room..=room),
                (height + random.random_range(-0.03f32..0.03)).clamp(radius, 1.0 - radius),
            ];
            Digit::random(split, centre, radius, random)
        });
        Self {
            digits: digits.collect(),
            paint: colour.paint(random),
            colour,
        }
    }

    /// Draws them; the area of all.
    pub fn draw(&self, canvas: &mut Canvas) -> Area {
        let mut area = [1.0f32, 1.0, 0.0, 0.0];
        for digit in &self.digits {
            let own = digit.draw(canvas, self.paint);
            area = [
                area[0].min(own[0]),
                area[1].min(own[1]),
                area[2].max(own[2]),
                area[3].max(own[3]),
            ];
        }
        area
    }

    fn text(&self) -> String {
        self.digits.iter().map(Digit::label).collect()
    }

    fn noun(&self) -> &'static str {
        if self.digits.len() == 1 {
            "digit"
        } else {
            "number"
        }
    }

    /// What the picture shows.
    pub fn caption(&self) -> String {
        format!("A handwritten {} in {}.", self.text(), self.colour.name)
    }

    /// Questions about them.
    pub fn questions(&self, area: Area, random: &mut impl Rng) -> Vec<Question> {
        let (text, noun) = (self.text(), self.noun());
        let forms: &[&str] = match self.digits.len() {
            1 => &[
                "Which digit is this?",
                "What digit is written here?",
                "Read the digit.",
            ],
            _ => &[
                "Which number is this?",
                "What number is written here?",
                "Read the number.",
            ],
        };
        let what =
            Question::ask(random, Kind::Digit, forms, "", text.as_str()).about([Fact::Name(0)], []);
        let forms = ["What colour is the {}?", "What color is the {}?"];
        let colour = Question::ask(random, Kind::Colour, &forms, noun, self.colour.name);
        let answer = format!("{} {text}", location::written(area));
        let place = Question::ask(
            random,
            Kind::Box,
            &["Where is the {}?", "Find the {}."],
            noun,
            answer,
        )
        .about([Fact::Name(0), Fact::Place(0)], []);
        vec![what, colour, place]
    }
}

impl Digit {
    /// One that the split may show.
    pub fn random(split: Split, centre: [f32; 2], radius: f32, random: &mut impl Rng) -> Self {
        Self {
            index: pick(split, random),
            centre,
            radius,
            turn: random.random_range(-0.2f32..0.2),
            slant: random.random_range(-0.15f32..0.15),
        }
    }

    /// Which it is.
    pub fn label(&self) -> &'static str {
        label(self.index)
    }

    /// Draws it; the area of its ink.
    pub fn draw(&self, canvas: &mut Canvas, paint: Paint) -> Area {
        let side = canvas.side() as f32;
        let reach = self.radius * 1.3;
        let range = |centre: f32| {
            let first = ((centre - reach) * side).floor().max(0.0) as usize;
            first..((centre + reach) * side).ceil().min(side) as usize
        };
        let (sin, cos) = self.turn.sin_cos();
        let mut area = [1.0f32, 1.0, 0.0, 0.0];
        for row in range(self.centre[1]) {
            for column in range(self.centre[0]) {
                let x = ((column as f32 + 0.5) / side - self.centre[0]) / self.radius;
                let y = ((row as f32 + 0.5) / side - self.centre[1]) / self.radius;
                let (x, y) = (x * cos + y * sin + self.slant * y, y * cos - x * sin);
                let ink = ink(self.index, (x + 1.0) * 4.0 - 0.5, (y + 1.0) * 4.0 - 0.5);
                if ink > 0.4 {
                    let (x, y) = (column as f32 / side, row as f32 / side);
                    area = [
                        area[0].min(x),
                        area[1].min(y),
                        area[2].max(x + 1.0 / side),
                        area[3].max(y + 1.0 / side),
                    ];
                }
                canvas.blend(column, row, paint, ink);
            }
        }
        area
    }
}

/// A digit of the split.
fn pick(split: Split, random: &mut impl Rng) -> usize {
    loop {
        let index = random.random_range(0..LABELS.trim().len());
        if (index % HELD_OUT == 0) == (split == Split::HeldOut) {
            return index;
        }
    }
}

fn label(index: usize) -> &'static str {
    &LABELS[index..=index]
}

/// How much ink there is between the pixels of a digit, from 0 to 1, with edges made steeper.
fn ink(index: usize, x: f32, y: f32) -> f32 {
    let at = |column: f32, row: f32| {
        if !(0.0..8.0).contains(&column) || !(0.0..8.0).contains(&row) {
            return 0.0;
        }
        let left = index as u32 % COLUMNS * SIDE + column as u32;
        let top = index as u32 / COLUMNS * SIDE + row as u32;
        f32::from(SHEET.get_pixel(left, top)[0]) / 255.0
    };
    let (left, top) = (x.floor(), y.floor());
    let (right, down) = (x - left, y - top);
    let upper = at(left, top) * (1.0 - right) + at(left + 1.0, top) * right;
    let lower = at(left, top + 1.0) * (1.0 - right) + at(left + 1.0, top + 1.0) * right;
    let ink = upper * (1.0 - down) + lower * down;
    ((ink - 0.2) / 0.4).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_has_a_label_and_ink() {
        let count = LABELS.trim().len();
        assert_eq!(count, 1797);
        assert!(
            SHEET.width() == COLUMNS * SIDE && SHEET.height() as usize >= count.div_ceil(40) * 8
        );
        for index in 0..count {
            let pixels = (0..64).map(|i| ink(index, (i % 8) as f32, (i / 8) as f32));
            assert!(pixels.sum::<f32>() > 4.0 && label(index).parse::<u8>().is_ok());
        }
    }
}
