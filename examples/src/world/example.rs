use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write},
    path::Path,
};

use image::{
    RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use rand::{
    Rng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use rayon::prelude::*;
use serde_json::{Value, json};
use vlm::core::Error;

use super::{
    background::Background,
    canvas::{Area, Canvas},
    chart::Chart,
    digit::Digits,
    figures::{self, Figures},
    question::{Kind, Question, without_hints},
    sheet::{Sheet, Style},
    split::Split,
    word::Words,
};

/// Pictures and conversations without end.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    split: Split,
    seed: u64,
    lesson: Lesson,
    rows: usize,
    only_shapes: bool,
    scenes: [u8; 3],
    kinds: Option<&'a [Kind]>,
}

/// What is said about a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// Plain sheets: black things, each to be named.
    Plain,
    /// Sheets of things of all colours, each to be named; every fourth is plain.
    Sheets,
    /// Sheets, with the colour or the place of each thing or the thing of each colour, in any order.
    Pairs,
    /// Scenes of shapes and sheets, with questions about one thing at a time; the lessons before it now and then.
    Finding,
    /// Scenes, with questions of many kinds and a caption now and then; in every fourth example a sheet.
    Questions,
}

/// A picture and what is said about it.
#[derive(Clone, Debug)]
pub struct Example {
    /// Square, 96 to 192 pixels a side.
    pub image: RgbImage,
    /// Questions and answers, in order.
    pub turns: Vec<Question>,
}

/// Questions of a conversation, at most.
const TURNS: usize = 6;
/// Pictures that are looked at for one to ask about.
const ATTEMPTS: u64 = 256;
/// Examples that are written at once.
const CHUNK: usize = 512;

impl<'a> World<'a> {
    /// How many of 100 scenes show shapes, words and digits; the others show bars.
    pub const SCENES: [u8; 3] = [50, 24, 14];

    /// The pictures of a split and a seed, with questions.
    pub fn new(split: Split, seed: u64) -> Self {
        Self {
            split,
            seed,
            lesson: Lesson::Questions,
            rows: 6,
            only_shapes: false,
            scenes: Self::SCENES,
            kinds: None,
        }
    }

    /// The same pictures with something else said about them.
    #[must_use]
    pub fn with_lesson(mut self, lesson: Lesson) -> Self {
        self.lesson = lesson;
        self
    }

    /// Sheets with so many rows at most, from 1 to 6.
    #[must_use]
    pub fn with_rows(mut self, rows: usize) -> Self {
        self.rows = rows.max(1);
        self
    }

    /// Sheets of shapes, without letters and digits; no other scenes in lesson [`Finding`](Lesson::Finding).
    #[must_use]
    pub fn with_only_shapes(mut self, only_shapes: bool) -> Self {
        self.only_shapes = only_shapes;
        self
    }

    /// Scenes of which so many in 100 show shapes, words and digits, in place of [`SCENES`](Self::SCENES).
    #[must_use]
    pub fn with_scenes(mut self, scenes: [u8; 3]) -> Self {
        self.scenes = scenes;
        self
    }

    /// No questions but of these kinds.
    #[must_use]
    pub fn with_kinds(mut self, kinds: &'a [Kind]) -> Self {
        self.kinds = Some(kinds);
        self
    }

    /// An example; each is a function of split, seed and index. It has no turns where the lesson has no questions of
    /// the kinds that are wanted.
    pub fn example(&self, index: u64) -> Example {
        // Another picture where there is nothing to ask about one.
        let attempt = |attempt: u64| self.attempt(index + attempt, index + (attempt << 32));
        let asked = (0..ATTEMPTS)
            .map(attempt)
            .find(|example| !example.turns.is_empty());
        asked.unwrap_or_else(|| attempt(0))
    }

    fn asks(&self, turn: &Question) -> bool {
        self.kinds.is_none_or(|kinds| kinds.contains(&turn.kind))
    }

    fn attempt(&self, place: u64, index: u64) -> Example {
        let mut example = match (self.lesson, place % 16) {
            (Lesson::Plain, _) => self.named(true, index),
            (Lesson::Sheets, part) => self.named(part % 4 == 0, index),
            (Lesson::Pairs, _) => self.pairs(index),
            (Lesson::Finding, 0 | 8) => self.named(false, index),
            (Lesson::Finding, 1 | 5 | 9 | 13) => self.pairs(index),
            (Lesson::Finding, 2 | 6 | 10 | 14) => self.finding(index),
            (Lesson::Finding, 4 | 12) if !self.only_shapes => self.scene(index),
            (Lesson::Finding, _) => self.figures(index),
            (Lesson::Questions, 0) => self.named(false, index),
            (Lesson::Questions, 4) => self.pairs(index),
            (Lesson::Questions, 8 | 12) => self.finding(index),
            (Lesson::Questions, _) => self.scene(index),
        };
        let random = &mut self.split.random(!self.seed, index);
        let (mut turns, questions): (Vec<_>, Vec<_>) = example
            .turns
            .into_iter()
            .filter(|turn| self.asks(turn))
            .partition(|turn| turn.kind == Kind::Caption);
        turns.retain(|_| random.random_bool(0.15));
        turns.extend(mixed(questions));
        turns.truncate(2 * TURNS);
        turns.shuffle(random);
        if random.random_bool(0.5) {
            // Else few of these would be left: other questions tell names and colours.
            turns.sort_by_key(|turn| !matches!(turn.kind, Kind::Colour | Kind::Shape));
        }
        turns = without_hints(turns);
        turns.truncate(TURNS);
        example.turns = turns;
        example
    }

    /// A sheet whose things are named in order.
    fn named(&self, plain: bool, index: u64) -> Example {
        self.sheet(plain, index, |sheet, _, random| {
            let mut turns = sheet.questions(random);
            if random.random_bool(0.67) {
                // The colours, which are easy.
                turns.truncate(1);
            }
            turns
        })
    }

    /// A sheet of which a word tells where to look for the next one.
    fn pairs(&self, index: u64) -> Example {
        self.sheet(false, index, |sheet, _, random| {
            let mut turns = sheet.pairs(random);
            turns.retain(|turn| self.asks(turn));
            turns.truncate(1);
            turns
        })
    }

    /// A sheet whose things are asked about one at a time.
    fn finding(&self, index: u64) -> Example {
        self.sheet(false, index, |sheet, areas, random| {
            sheet.finding(areas, random)
        })
    }

    fn sheet(
        &self,
        plain: bool,
        index: u64,
        ask: impl Fn(&Sheet, &[Area], &mut StdRng) -> Vec<Question>,
    ) -> Example {
        let random = &mut self.split.random(self.seed, index);
        let background = match plain {
            true => Background::light(random),
            false => Background::random(random),
        };
        let mut canvas = canvas(&background, random);
        let style = Style {
            rows: self.rows,
            plain,
            shapes: self.only_shapes,
        };
        let sheet = Sheet::random(self.split, style, &background, random);
        let areas = sheet.draw(&mut canvas);
        Example {
            image: canvas.image(),
            turns: ask(&sheet, &areas, random),
        }
    }

    /// A scene of shapes, no more than twice as many as a sheet has rows.
    fn figures(&self, index: u64) -> Example {
        let random = &mut self.split.random(self.seed, index);
        let background = Background::random(random);
        let mut canvas = canvas(&background, random);
        let most = (2 * self.rows).min(figures::MOST);
        let figures = Figures::random(self.split, most, &background, random);
        figures.draw(&mut canvas);
        Example {
            image: canvas.image(),
            turns: figures.questions(random),
        }
    }

    /// A picture with all that there is to say about it.
    pub fn scene(&self, index: u64) -> Example {
        let random = &mut self.split.random(self.seed, index);
        let background = Background::random(random);
        let mut canvas = canvas(&background, random);
        let [shapes, words, digits] = self.scenes.map(i32::from);
        let (caption, mut turns) = match random.random_range(0..100) {
            part if part < shapes => {
                let figures = Figures::random(self.split, figures::MOST, &background, random);
                figures.draw(&mut canvas);
                let questions = figures.questions(random);
                (figures.caption(), questions)
            }
            part if part < shapes + words => {
                let words = Words::random(self.split, &background, random);
                let areas = words.draw(&mut canvas);
                let questions = words.questions(&areas, random);
                (words.caption(), questions)
            }
            part if part < shapes + words + digits => {
                let digits = Digits::random(self.split, &background, random);
                let area = digits.draw(&mut canvas);
                let questions = digits.questions(area, random);
                (digits.caption(), questions)
            }
            _ => {
                let chart = Chart::random(&background, random);
                chart.draw(&mut canvas);
                let questions = chart.questions(random);
                (chart.caption(), questions)
            }
        };
        let forms = [
            "What is in the picture?",
            "Describe the picture.",
            "What do you see?",
        ];
        turns.push(Question::ask(random, Kind::Caption, &forms, "", caption));
        Example {
            image: canvas.image(),
            turns,
        }
    }

    /// Writes examples as `train` reads them: `data.jsonl` and `images/` in `folder`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(
        &self,
        folder: &Path,
        count: u64,
        progress: impl Fn() + Sync,
    ) -> Result<(), Error> {
        let images = folder.join("images");
        fs::create_dir_all(&images).map_err(Error::io(&images))?;
        let path = folder.join("data.jsonl");
        let file = fs::File::create(&path).map_err(Error::io(&path))?;
        let mut file = BufWriter::new(file);
        // On all cores, some at a time: the lines have to be in order.
        for first in (0..count).step_by(CHUNK) {
            let chunk = first..(first + CHUNK as u64).min(count);
            let lines: Vec<String> = chunk
                .into_par_iter()
                .map(|index| {
                    let name = format!("images/{index:06}.png");
                    let example = self.example(index);
                    let picture = folder.join(&name);
                    save(&example.image, &picture)?;
                    progress();
                    Ok(example.record(&name).to_string())
                })
                .collect::<Result<_, Error>>()?;
            writeln!(file, "{}", lines.join("\n")).map_err(Error::io(&path))?;
        }
        file.flush().map_err(Error::io(&path))
    }
}

/// Of some size.
fn canvas(background: &Background, random: &mut impl Rng) -> Canvas {
    let side = *[96, 96, 96, 128, 192]
        .choose(random)
        .expect("there are sizes");
    background.canvas(side)
}

/// In a hurry: packing the pixels well takes longer than drawing them.
fn save(image: &RgbImage, path: &Path) -> Result<(), Error> {
    let file = BufWriter::new(fs::File::create(path).map_err(Error::io(path))?);
    let encoder = PngEncoder::new_with_quality(file, CompressionType::Fast, FilterType::Sub);
    let saved = image.write_with_encoder(encoder);
    saved.map_err(|error| Error::file(path, error.to_string()))
}

/// One question of each kind first, then a second one of each, and so on.
fn mixed(questions: Vec<Question>) -> Vec<Question> {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    let numbered = questions.into_iter().map(|question| {
        let count = counts.entry(question.kind).or_default();
        *count += 1;
        (*count, question)
    });
    let mut numbered: Vec<(usize, Question)> = numbered.collect();
    // Stable: the kinds stay in the order that chance gave them.
    numbered.sort_by_key(|(count, _)| *count);
    numbered.into_iter().map(|(_, question)| question).collect()
}

impl Example {
    /// The conversation as a line of a `messages` and `images` file.
    pub fn record(&self, image: &str) -> Value {
        let mut messages = Vec::new();
        for (index, turn) in self.turns.iter().enumerate() {
            let text = json!({ "type": "text", "text": turn.text });
            let content = match index {
                0 => json!([{ "type": "image" }, text]),
                _ => json!([text]),
            };
            messages.push(json!({ "role": "user", "content": content }));
            let content = json!([{ "type": "text", "text": turn.answer }]);
            messages.push(json!({ "role": "assistant", "content": content }));
        }
        json!({ "messages": messages, "images": [image] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{colour::COLOURS, shape::SHAPES, split::HELD_OUT_WORDS};

    #[test]
    fn training_neither_shows_nor_names_what_is_held_out() {
        let world = World::new(Split::Train, 1);
        let rare = COLOURS
            .iter()
            .flat_map(|c| SHAPES.iter().map(move |s| (*c, *s)));
        let rare = rare.filter(|(colour, shape)| Split::is_rare(*colour, *shape));
        let rare: Vec<String> = rare
            .map(|(colour, shape)| format!("{} {}", colour.name, shape.name()))
            .collect();
        for index in 0..400 {
            for turn in world.scene(index).turns {
                let said = format!("{} {}", turn.text, turn.answer);
                assert!(!rare.iter().any(|pair| said.contains(pair)), "{said}");
                let words = said.split(|c: char| !c.is_ascii_uppercase());
                assert!(
                    !words.into_iter().any(|word| HELD_OUT_WORDS.contains(&word)),
                    "{said}"
                );
            }
        }
    }

    #[test]
    fn yes_is_as_frequent_as_no() {
        let world = World::new(Split::HeldOut, 2);
        let mut counts: BTreeMap<(Kind, String), i32> = BTreeMap::new();
        for turn in (0..600).flat_map(|index| world.scene(index).turns) {
            if ["yes", "no"].contains(&turn.answer.as_str()) {
                *counts.entry((turn.kind, turn.answer)).or_default() += 1;
            }
        }
        for kind in [Kind::YesNo, Kind::Relation] {
            let count = |answer: &str| f64::from(counts[&(kind, answer.to_owned())]);
            let share = count("yes") / (count("yes") + count("no"));
            assert!((share - 0.5).abs() < 0.05, "{kind:?}: {share}");
        }
    }

    #[test]
    fn every_kind_is_asked_about() {
        let world = World::new(Split::HeldOut, 3);
        let kinds: Vec<Kind> = (0..200)
            .flat_map(|index| world.scene(index).turns)
            .map(|turn| turn.kind)
            .collect();
        assert!(Kind::ALL.iter().all(|kind| kinds.contains(kind)));
    }

    #[test]
    fn scenes_show_what_is_wanted() {
        for (scenes, kind) in [
            ([100, 0, 0], Kind::Count),
            ([0, 100, 0], Kind::Word),
            ([0, 0, 100], Kind::Digit),
            ([0, 0, 0], Kind::Chart),
        ] {
            let world = World::new(Split::Train, 4).with_scenes(scenes);
            for index in 0..20 {
                let turns = world.scene(index).turns;
                assert!(turns.iter().any(|turn| turn.kind == kind), "{kind:?}");
            }
        }
    }
}
