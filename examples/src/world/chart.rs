use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};

use super::{
    background::Background,
    canvas::{Area, Canvas, Paint},
    colour::{Colour, visible},
    letters,
    question::{Kind, Question},
};

/// Bars with a letter below and a value above.
#[derive(Clone, Debug)]
pub struct Chart {
    bars: Vec<Bar>,
    font: usize,
    ink: Paint,
}

#[derive(Clone, Debug)]
struct Bar {
    letter: char,
    value: u32,
    colour: Colour,
    paint: Paint,
}

/// The highest value.
const HIGHEST: u32 = 9;
/// Where bars stand.
const BOTTOM: f32 = 0.84;
/// How high characters are.
const LETTER: f32 = 0.11;

impl Chart {
    /// Some bars, no two of them equally high.
    pub fn random(background: &Background, random: &mut impl Rng) -> Self {
        let count = random.random_range(2..=5);
        let mut values: Vec<u32> = (1..=HIGHEST).collect();
        values.shuffle(random);
        let first = random.random_range(b'A'..=b'U');
        let single = random
            .random_bool(0.3)
            .then(|| visible(background.middle(), random));
        let bars = (0..count).map(|index| {
            let colour = single.unwrap_or_else(|| visible(background.middle(), random));
            Bar {
                letter: char::from(first + index as u8),
                value: values[index],
                paint: colour.paint(random),
                colour,
            }
        });
        Self {
            bars: bars.collect(),
            font: random.random_range(0..letters::FONTS.len()),
            ink: [if background.is_dark() { 0.95 } else { 0.08 }; 3],
        }
    }

    /// Draws them.
    pub fn draw(&self, canvas: &mut Canvas) {
        for (index, bar) in self.bars.iter().enumerate() {
            let area = self.area(index);
            canvas.cover(area, |x, y| {
                let within = (area[0]..area[2]).contains(&x) && (area[1]..area[3]).contains(&y);
                within.then_some(bar.paint)
            });
            for (text, corner) in self.labels(index) {
                letters::write(canvas, self.font, &text, corner, LETTER, self.ink);
            }
        }
    }

    fn middle(&self, index: usize) -> f32 {
        0.04 + self.share() * (index as f32 + 0.5)
    }

    /// The width that a bar and the gap beside it take.
    fn share(&self) -> f32 {
        0.92 / self.bars.len() as f32
    }

    fn area(&self, index: usize) -> Area {
        let (middle, half) = (self.middle(index), (self.share() * 0.35).min(0.11));
        let top = BOTTOM - 0.66 * self.bars[index].value as f32 / HIGHEST as f32;
        [middle - half, top, middle + half, BOTTOM]
    }

    /// The letter below and the value above, each with its upper left corner.
    fn labels(&self, index: usize) -> [(String, [f32; 2]); 2] {
        let bar = &self.bars[index];
        let above = self.area(index)[1] - LETTER - 0.02;
        let label = |text: String, y| {
            let left = self.middle(index) - letters::width(self.font, &text, LETTER) / 2.0;
            (text, [left, y])
        };
        [
            label(bar.letter.to_string(), 0.87),
            label(bar.value.to_string(), above),
        ]
    }

    /// What the picture shows.
    pub fn caption(&self) -> String {
        let bars = self
            .bars
            .iter()
            .map(|bar| format!("{} {}", bar.letter, bar.value));
        format!("A bar chart: {}.", bars.collect::<Vec<_>>().join(", "))
    }

    /// Questions about them.
    pub fn questions(&self, random: &mut impl Rng) -> Vec<Question> {
        let mut questions = Vec::new();
        let count = self.bars.len().to_string();
        questions.push(Question::ask(
            random,
            Kind::Count,
            &["How many bars are there?"],
            "",
            count,
        ));
        let bar = self.bars.choose(random).expect("there are bars");
        let forms = ["What is the value of {}?", "How high is bar {}?"];
        let letter = bar.letter.to_string();
        questions.push(Question::ask(
            random,
            Kind::Chart,
            &forms,
            &letter,
            bar.value.to_string(),
        ));
        let forms = ["What colour is bar {}?", "What color is bar {}?"];
        questions.push(Question::ask(
            random,
            Kind::Colour,
            &forms,
            &letter,
            bar.colour.name,
        ));
        let by_value = |bar: &&Bar| bar.value;
        let (form, right) = match random.random_bool(0.5) {
            true => (
                "Which bar is the highest?",
                self.bars.iter().max_by_key(by_value),
            ),
            false => (
                "Which bar is the lowest?",
                self.bars.iter().min_by_key(by_value),
            ),
        };
        let answer = right.map_or(' ', |bar| bar.letter).to_string();
        questions.push(Question::ask(random, Kind::Chart, &[form], "", answer));
        questions.shuffle(random);
        questions
    }
}
