//! A sheet of many small things that have nothing to do with one another: a lesson for a tower that knows nothing
//! yet. None of the words of an answer can be guessed from the others.
//!
//! A plain sheet has few things, all of them black: what colours there are is learned within minutes, and a tower
//! that has learned it first learns the rest late (docs/world.md).

use rand::{Rng, seq::IndexedRandom};

use super::{
    background::Background,
    canvas::{Area, Canvas, Paint},
    colour::{BLACK, Colour, visible},
    digit::Digit,
    letters,
    question::{Kind, Question},
    shape::{SHAPES, Shape},
    split::Split,
    texture::{TEXTURES, Texture},
};

/// Numbers of rows, each as often as it stands here.
const SIZES: [usize; 11] = [1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 6];

/// How a sheet may look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Rows, at most.
    pub rows: usize,
    /// Whether all things are black; the background should be light.
    pub plain: bool,
    /// Whether there are shapes alone, no letters and no digits.
    pub shapes: bool,
}

/// Rows of things, as many in each.
#[derive(Clone, Debug)]
pub struct Sheet {
    pub(super) split: Split,
    plain: bool,
    rows: usize,
    pub(super) items: Vec<Item>,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) thing: Thing,
    pub(super) colour: Colour,
    paint: Paint,
    pub(super) centre: [f32; 2],
    radius: f32,
}

#[derive(Clone, Debug)]
pub(super) enum Thing {
    Shape(Shape, Texture),
    Letter(&'static str, usize),
    Digit(Digit),
}

impl Sheet {
    /// Some things.
    pub fn random(
        split: Split,
        style: Style,
        background: &Background,
        random: &mut impl Rng,
    ) -> Self {
        let Style {
            rows,
            plain,
            shapes,
        } = style;
        let sizes: Vec<usize> = SIZES.into_iter().filter(|size| *size <= rows).collect();
        let rows = *sizes.choose(random).expect("one row is among the sizes");
        let items = (0..rows * rows).map(|cell| {
            let half = 0.5 / rows as f32;
            let radius = random.random_range(0.65f32..0.98) * half.min(0.4);
            let centre = [cell % rows, cell / rows].map(|place| {
                let middle = (2 * place + 1) as f32 * half;
                middle + random.random_range(-1.0f32..=1.0) * (half - radius)
            });
            let colour = visible(background.middle(), random);
            let colour = if plain { BLACK } else { colour };
            Item::random(split, shapes, colour, centre, radius, random)
        });
        let items = items.collect();
        Self {
            split,
            plain,
            rows,
            items,
        }
    }

    /// Draws them; the area of each.
    pub fn draw(&self, canvas: &mut Canvas) -> Vec<Area> {
        self.items.iter().map(|item| item.draw(canvas)).collect()
    }

    /// What they are and, unless all are black, which colours they have, row by row.
    pub fn questions(&self, random: &mut impl Rng) -> Vec<Question> {
        let rows = self.rows.to_string();
        let name = |item: &Item| match item.thing {
            Thing::Shape(..) => format!(" {}", item.name()),
            _ => item.name().to_owned(),
        };
        let names = self.items.iter().map(name).collect::<String>();
        let colour = |item: &Item| format!(" {}", item.colour.name);
        let colours = self.items.iter().map(colour).collect::<String>();
        let mut ask = |form, answer: String| {
            Question::ask(random, Kind::Sheet, &[form], &rows, answer.trim_start())
        };
        let mut questions = vec![ask("What is in the {} rows?", names)];
        if !self.plain {
            questions.push(ask("Which colours are in the {} rows?", colours));
        }
        questions
    }

    /// Whether there is one such thing.
    pub(super) fn has_one(&self, such: impl Fn(&Item) -> bool) -> bool {
        self.items.iter().filter(|item| such(item)).count() == 1
    }
}

impl Item {
    /// How it is filled, of a shape.
    pub(super) fn texture(&self) -> Option<&'static str> {
        match &self.thing {
            Thing::Shape(_, texture) => Some(texture.name()),
            _ => None,
        }
    }

    fn random(
        split: Split,
        shapes: bool,
        colour: Colour,
        centre: [f32; 2],
        radius: f32,
        random: &mut impl Rng,
    ) -> Self {
        let thing = match random.random_range(0..if shapes { 3 } else { 10 }) {
            0..3 => loop {
                let shape = *SHAPES.choose(random).expect("there are shapes");
                if split.allows(colour, shape) {
                    let texture = match random.random_bool(0.6) {
                        true => Texture::Plain,
                        false => *TEXTURES.choose(random).expect("there are textures"),
                    };
                    break Thing::Shape(shape, texture);
                }
            },
            3..5 => Thing::Digit(Digit::random(split, centre, radius, random)),
            _ => Thing::Letter(letter(random), random.random_range(0..letters::FONTS.len())),
        };
        Self {
            thing,
            paint: colour.paint(random),
            colour,
            centre,
            radius,
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match &self.thing {
            Thing::Shape(shape, _) => shape.name(),
            Thing::Letter(letter, _) => letter,
            Thing::Digit(digit) => digit.label(),
        }
    }

    fn draw(&self, canvas: &mut Canvas) -> Area {
        let ([x, y], radius) = (self.centre, self.radius);
        match &self.thing {
            Thing::Shape(shape, texture) => {
                shape.draw(canvas, self.centre, radius, |x, y| {
                    texture.paint(x, y, self.paint)
                });
                let extent = shape.extent();
                std::array::from_fn(|edge| self.centre[edge % 2] + extent[edge] * radius)
            }
            Thing::Letter(letter, font) => {
                // The widest letters are as wide as they are high.
                let height = 1.5 * radius;
                let left = x - letters::width(*font, letter, height) / 2.0;
                let corner = [left, y - height / 2.0];
                letters::write(canvas, *font, letter, corner, height, self.paint)
            }
            Thing::Digit(digit) => digit.draw(canvas, self.paint),
        }
    }
}

fn letter(random: &mut impl Rng) -> &'static str {
    const ALL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let index = random.random_range(0..ALL.len());
    &ALL[index..=index]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::split::seeded;

    const STYLE: Style = Style {
        rows: 6,
        plain: false,
        shapes: false,
    };

    #[test]
    fn every_thing_is_named_and_has_a_colour() {
        let random = &mut seeded(4);
        for _ in 0..50 {
            let background = Background::random(random);
            let sheet = Sheet::random(Split::Train, STYLE, &background, random);
            let questions = sheet.questions(random);
            let words = |text: &str| -> usize {
                let marks = text.chars().filter(char::is_ascii_uppercase).count();
                let digits = text.chars().filter(char::is_ascii_digit).count();
                marks
                    + digits
                    + text
                        .split(|c: char| !c.is_ascii_lowercase())
                        .filter(|w| !w.is_empty())
                        .count()
            };
            for question in questions {
                assert_eq!(words(&question.answer), sheet.items.len(), "{question:?}");
            }
        }
    }
}
