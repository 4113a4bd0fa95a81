use rand::{Rng, seq::IndexedRandom};

use super::{
    background::Background,
    canvas::{Area, Canvas, Paint},
    colour::{Colour, visible},
    letters, location,
    question::{Fact, Kind, Question},
    split::{HELD_OUT_WORDS, Split},
};

/// One to three lines of capitals.
#[derive(Clone, Debug)]
pub struct Words {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    text: String,
    font: usize,
    colour: Colour,
    paint: Paint,
    corner: [f32; 2],
    height: f32,
}

/// What a line among several is called.
const PLACES: [&[&str]; 3] = [
    &["only"],
    &["upper", "lower"],
    &["upper", "middle", "lower"],
];

impl Words {
    /// Some words.
    pub fn random(split: Split, background: &Background, random: &mut impl Rng) -> Self {
        let count = *[1, 1, 1, 2, 2, 3].choose(random).expect("there are counts");
        let share = 1.0 / count as f32;
        let mut lines: Vec<Line> = Vec::new();
        for index in 0..count {
            let text = loop {
                let text = word(split, random);
                if lines.iter().all(|line| line.text != text) {
                    break text;
                }
            };
            let font = random.random_range(0..letters::FONTS.len());
            let widest = random.random_range(0.55f32..0.94);
            let highest = share * random.random_range(0.35f32..0.62);
            // A capital of at least a tenth of the side can be read at 96 pixels.
            let height = (widest / letters::width(font, &text, 1.0))
                .min(highest)
                .max(0.11);
            let width = letters::width(font, &text, height);
            let free = |room: f32, random: &mut _| Rng::random_range(random, 0.0..=room.max(0.0));
            let top = share * index as f32 + 0.02;
            let colour = visible(background.middle(), random);
            lines.push(Line {
                font,
                colour,
                paint: colour.paint(random),
                corner: [
                    0.02 + free(0.96 - width, random),
                    top + free(share - height - 0.04, random),
                ],
                height,
                text,
            });
        }
        Self { lines }
    }

    /// Draws them; the area of each line.
    pub fn draw(&self, canvas: &mut Canvas) -> Vec<Area> {
        let write = |line: &Line| {
            letters::write(
                canvas,
                line.font,
                &line.text,
                line.corner,
                line.height,
                line.paint,
            )
        };
        self.lines.iter().map(write).collect()
    }

    /// What the picture shows.
    pub fn caption(&self) -> String {
        let said = |line: &Line| format!("{} in {} letters", line.text, line.colour.name);
        let lines: Vec<String> = self.lines.iter().map(said).collect();
        format!("It says {}.", lines.join(" and "))
    }

    /// Questions about every line.
    pub fn questions(&self, areas: &[Area], random: &mut impl Rng) -> Vec<Question> {
        let mut questions = Vec::new();
        for (index, (line, area)) in self.lines.iter().zip(areas).enumerate() {
            let place = PLACES[self.lines.len() - 1][index];
            let single = self.lines.len() == 1;
            let forms: &[&str] = match single {
                true => &[
                    "What does it say?",
                    "What is written here?",
                    "Read the text.",
                    "Which word is this?",
                ],
                false => &[
                    "What is the {} word?",
                    "Read the {} word.",
                    "What does the {} line say?",
                ],
            };
            let question = Question::ask(random, Kind::Word, forms, place, &line.text);
            questions.push(question.about([Fact::Name(index)], []));
            let forms: &[&str] = match single {
                true => &["What colour is the text?", "What color are the letters?"],
                false => &["What colour is the {} word?", "What color is the {} word?"],
            };
            let question = Question::ask(random, Kind::Colour, forms, place, line.colour.name);
            questions.push(question.about([Fact::Colour(index)], []));
            let forms: &[&str] = match single {
                true => &["Where is the word?", "Find the text."],
                false => &["Where is the {} word?", "Find the {} word."],
            };
            let answer = format!("{} {}", location::written(*area), line.text);
            let question = Question::ask(random, Kind::Box, forms, place, answer);
            questions.push(question.about([Fact::Name(index), Fact::Place(index)], []));
        }
        questions
    }
}

/// A word that the split may show: in training letters that mean nothing, most of them easy to say; one in
/// seven is a single letter or a pair, so that letters are learned one by one.
fn word(split: Split, random: &mut impl Rng) -> String {
    if split == Split::HeldOut {
        return (*HELD_OUT_WORDS.choose(random).expect("there are words")).to_owned();
    }
    loop {
        let length = *[1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 5, 6]
            .choose(random)
            .expect("there are lengths");
        let spoken = random.random_bool(0.6);
        let mut vowel = random.random_bool(0.4);
        let letter = |_| {
            let from: &[u8] = match (spoken, vowel) {
                (false, _) => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                (true, true) => b"AEIOUY",
                (true, false) => b"BCDFGHJKLMNPQRSTVWXZ",
            };
            // Two consonants follow one another now and then.
            vowel = !vowel && random.random_bool(0.85);
            char::from(*from.choose(random).expect("there are letters"))
        };
        let text: String = (0..length).map(letter).collect();
        if !HELD_OUT_WORDS.contains(&text.as_str()) {
            return text;
        }
    }
}
