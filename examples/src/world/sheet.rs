//! A sheet of many small things that have nothing to do with one another: a lesson for a tower that knows nothing
//! yet. None of the words of an answer can be guessed from the others.

use rand::{Rng, seq::IndexedRandom};

use super::{
    background::Background,
    canvas::{Canvas, Paint},
    colour::{Colour, visible},
    digit::Digit,
    letters,
    question::{Kind, Question},
    shape::{SHAPES, Shape},
    split::Split,
    texture::{TEXTURES, Texture},
};

/// Rows of things, as many in each.
#[derive(Clone, Debug)]
pub struct Sheet {
    rows: usize,
    items: Vec<Item>,
}

#[derive(Clone, Debug)]
struct Item {
    thing: Thing,
    colour: Colour,
    paint: Paint,
    centre: [f32; 2],
    radius: f32,
}

#[derive(Clone, Debug)]
enum Thing {
    Shape(Shape, Texture),
    Letter(char, usize),
    Digit(Digit),
}

impl Sheet {
    /// Some things.
    pub fn random(split: Split, background: &Background, random: &mut impl Rng) -> Self {
        let rows = *[1, 2, 3, 4, 4, 5, 6]
            .choose(random)
            .expect("there are sizes");
        let items = (0..rows * rows).map(|cell| {
            let half = 0.5 / rows as f32;
            let radius = random.random_range(0.65f32..0.98) * half.min(0.4);
            let centre = [cell % rows, cell / rows].map(|place| {
                let middle = (2 * place + 1) as f32 * half;
                middle + random.random_range(-1.0f32..=1.0) * (half - radius)
            });
            Item::random(split, background, centre, radius, random)
        });
        let items = items.collect();
        Self { rows, items }
    }

    /// Draws them.
    pub fn draw(&self, canvas: &mut Canvas) {
        self.items.iter().for_each(|item| item.draw(canvas));
    }

    /// What they are and which colours they have, row by row.
    pub fn questions(&self, random: &mut impl Rng) -> Vec<Question> {
        let rows = self.rows.to_string();
        let names = self.items.iter().map(Item::name).collect::<String>();
        let colour = |item: &Item| format!(" {}", item.colour.name);
        let colours = self.items.iter().map(colour).collect::<String>();
        let mut ask = |form, answer: String| {
            Question::ask(random, Kind::Sheet, &[form], &rows, answer.trim_start())
        };
        vec![
            ask("What is in the {} rows?", names),
            ask("Which colours are in the {} rows?", colours),
        ]
    }
}

impl Item {
    fn random(
        split: Split,
        background: &Background,
        centre: [f32; 2],
        radius: f32,
        random: &mut impl Rng,
    ) -> Self {
        let colour = visible(background.middle(), random);
        let thing = match random.random_range(0..10) {
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
            _ => Thing::Letter(
                char::from(random.random_range(b'A'..=b'Z')),
                random.random_range(0..letters::FONTS.len()),
            ),
        };
        Self {
            thing,
            paint: colour.paint(random),
            colour,
            centre,
            radius,
        }
    }

    /// A word with a space before it, or a character.
    fn name(&self) -> String {
        match &self.thing {
            Thing::Shape(shape, _) => format!(" {}", shape.name()),
            Thing::Letter(letter, _) => letter.to_string(),
            Thing::Digit(digit) => digit.label().to_string(),
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        let ([x, y], radius) = (self.centre, self.radius);
        match &self.thing {
            Thing::Shape(shape, texture) => {
                shape.draw(canvas, self.centre, radius, |x, y| {
                    texture.paint(x, y, self.paint)
                });
            }
            Thing::Letter(letter, font) => {
                let text = letter.to_string();
                // The widest letters are as wide as they are high.
                let height = 1.5 * radius;
                let left = x - letters::width(*font, &text, height) / 2.0;
                letters::write(
                    canvas,
                    *font,
                    &text,
                    [left, y - height / 2.0],
                    height,
                    self.paint,
                );
            }
            Thing::Digit(digit) => {
                digit.draw(canvas, self.paint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::split::seeded;

    #[test]
    fn every_thing_is_named_and_has_a_colour() {
        let random = &mut seeded(4);
        for _ in 0..50 {
            let background = Background::random(random);
            let sheet = Sheet::random(Split::Train, &background, random);
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
