//! How many questions of the held-out split a model answers, and whether it looks at the pictures.

use std::{collections::BTreeMap, fmt};

use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use vlm::{
    Error, Pretrained, Prompt, Request,
    chat_template::grounding::{BoundingBox, LocationMarkup},
    prelude::*,
};

use super::{Kind, Question, Split, World};

/// Questions that are answered together.
const BATCH: usize = 48;
/// Tokens of the longest answer, a caption of six things.
const LONGEST: usize = 64;

/// What a question's model is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The question's own picture.
    Own,
    /// A picture of one grey.
    Blank,
    /// Another scene.
    Other,
}

/// A question with its picture.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// The picture that it is about.
    pub image: RgbImage,
    /// What the picture shows, in words.
    pub caption: String,
}

/// Accuracies of one kind of question, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// Number of questions.
    pub count: usize,
    /// With the question's picture.
    pub own: f64,
    /// Of the most frequent answer to questions of the same form.
    pub guess: f64,
    /// With a grey picture.
    pub blank: f64,
    /// With another scene's picture.
    pub other: f64,
}

/// A row for each kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score(pub BTreeMap<Kind, Row>);

/// Up to `per_kind` questions of each kind, at most two of a kind about one picture.
pub fn questions(seed: u64, per_kind: usize) -> Vec<Asked> {
    let world = World::new(Split::HeldOut, seed);
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut asked = Vec::new();
    for index in 0.. {
        let scene = world.scene(index);
        let mut of_scene: BTreeMap<Kind, usize> = BTreeMap::new();
        let caption = scene.turns.iter().find(|turn| turn.kind == Kind::Caption);
        let caption = caption.map_or_else(String::new, |turn| turn.answer.clone());
        for question in scene.turns {
            let count = counts.entry(question.kind).or_default();
            let here = of_scene.entry(question.kind).or_default();
            if *count < per_kind && *here < 2 {
                *count += 1;
                *here += 1;
                asked.push(Asked {
                    question,
                    image: scene.image.clone(),
                    caption: caption.clone(),
                });
            }
        }
        if Kind::ALL
            .iter()
            .all(|kind| counts.get(kind) >= Some(&per_kind))
        {
            break;
        }
    }
    asked.sort_by_key(|asked| asked.question.kind);
    asked
}

/// The model's answers.
///
/// # Errors
///
/// When the model takes no pictures or its template refuses the questions.
pub fn answers(
    model: &Pretrained,
    asked: &[Asked],
    shown: Shown,
    progress: impl Fn(usize),
) -> Result<Vec<String>, Error> {
    let config = model.generation_config(LONGEST)?;
    let (device, dtype) = (model.device(), model.dtype());
    let mut answers = Vec::with_capacity(asked.len());
    for first in (0..asked.len()).step_by(BATCH) {
        let batch = first..(first + BATCH).min(asked.len());
        let request = |index: usize| {
            let own = &asked[index];
            let image = match shown {
                Shown::Own => own.image.clone(),
                Shown::Blank => RgbImage::from_pixel(96, 96, Rgb([128; 3])),
                // Far enough to be of another scene.
                Shown::Other => asked[(index + 7) % asked.len()].image.clone(),
            };
            let prompt = Prompt::Question(own.question.text.clone());
            model.processor.process(&prompt, &[image])
        };
        let requests: Vec<Request> = batch.clone().map(request).collect::<Result<_, _>>()?;
        let images = Request::images(&requests, device, dtype.into());
        let prompts: Vec<Sequence> = requests
            .into_iter()
            .map(|request| request.sequence)
            .collect();
        let generated = generate(&model.model, &prompts, images, &config, device)?;
        let tokenizer = model.processor.tokenizer();
        answers.extend(
            generated
                .iter()
                .map(|one| tokenizer.decode(&one.tokens).trim().to_owned()),
        );
        progress(batch.len());
    }
    Ok(answers)
}

/// Whether an answer is right: equal in letters; a box where it covers at least half of what it and the right
/// one cover together.
pub fn is_right(question: &Question, answer: &str) -> bool {
    if question.kind != Kind::Box {
        return question.answer == answer;
    }
    let area = |text: &str| {
        let found = LocationMarkup::default().parse(text);
        found.entities.first().map(|entity| entity.boxes[0])
    };
    match (area(&question.answer), area(answer)) {
        (Some(right), Some(found)) => overlap(right, found) >= 0.5,
        _ => false,
    }
}

/// The shared part of two boxes as a share of what they cover together.
fn overlap(a: BoundingBox, b: BoundingBox) -> f64 {
    let size = |b: BoundingBox| (b.x1 - b.x0).max(0.0) * (b.y1 - b.y0).max(0.0);
    let shared = size(BoundingBox::new(
        a.x0.max(b.x0),
        a.y0.max(b.y0),
        a.x1.min(b.x1),
        a.y1.min(b.y1),
    ));
    shared / (size(a) + size(b) - shared).max(1e-12)
}

/// For every question, the answer that is most frequent among questions of its form; where the question offers answers,
/// the first or the second, whichever is right more often; for boxes, the middle of the picture.
fn guesses(asked: &[Asked]) -> Vec<String> {
    let mut by_form: BTreeMap<&str, BTreeMap<Guess, usize>> = BTreeMap::new();
    for Asked { question, .. } in asked {
        let answers = by_form.entry(question.form).or_default();
        *answers.entry(Guess::right(question)).or_default() += 1;
    }
    let guess = |question: &Question| match question.kind {
        Kind::Box => LocationMarkup::default().location(BoundingBox::new(0.25, 0.25, 0.75, 0.75)),
        _ => {
            let answers = by_form[question.form].iter();
            let best = answers.max_by_key(|(_, count)| **count);
            match best {
                Some((Guess::Offered(place), _)) => question.offers[*place].clone(),
                Some((Guess::Answer(answer), _)) => (*answer).to_owned(),
                None => String::new(),
            }
        }
    };
    asked.iter().map(|asked| guess(&asked.question)).collect()
}

/// What can be answered without a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Guess<'a> {
    /// Always the same.
    Answer(&'a str),
    /// Always the same of the answers that the question offers.
    Offered(usize),
}

impl<'a> Guess<'a> {
    /// The one that is right.
    fn right(question: &'a Question) -> Self {
        let answer = &question.answer;
        match question.offers.iter().position(|offer| offer == answer) {
            Some(place) => Self::Offered(place),
            None => Self::Answer(answer),
        }
    }
}

/// Asks everything three times.
///
/// # Errors
///
/// As [`answers`].
pub fn score(
    model: &Pretrained,
    asked: &[Asked],
    progress: impl Fn(usize),
) -> Result<(Score, Vec<String>), Error> {
    let own = answers(model, asked, Shown::Own, &progress)?;
    let blank = answers(model, asked, Shown::Blank, &progress)?;
    let other = answers(model, asked, Shown::Other, &progress)?;
    let guess = guesses(asked);
    let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
    for (index, Asked { question, .. }) in asked.iter().enumerate() {
        let right = |answers: &[String]| f64::from(u8::from(is_right(question, &answers[index])));
        let row = rows.entry(question.kind).or_default();
        row.count += 1;
        row.own += right(&own);
        row.guess += right(&guess);
        row.blank += right(&blank);
        row.other += right(&other);
    }
    for row in rows.values_mut() {
        for value in [&mut row.own, &mut row.guess, &mut row.blank, &mut row.other] {
            *value /= row.count as f64;
        }
    }
    Ok((Score(rows), own))
}

impl Score {
    /// The table as a JSON object, a kind's name for each row.
    pub fn to_json(&self) -> Value {
        let row = |(kind, row): (&Kind, &Row)| {
            let value = json!({
                "count": row.count, "accuracy": row.own, "guess": row.guess,
                "blank": row.blank, "other": row.other,
            });
            (kind.name().to_owned(), value)
        };
        Value::Object(self.0.iter().map(row).collect())
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| question | number | right | guess | grey picture | other picture |"
        )?;
        write!(f, "|---|---|---|---|---|---|")?;
        for kind in Kind::ALL {
            let Some(row) = self.0.get(&kind) else {
                continue;
            };
            let [own, guess, blank, other] =
                [row.own, row.guess, row.blank, row.other].map(|share| 100.0 * share);
            write!(
                f,
                "\n| {} | {} | {own:.1}% | {guess:.1}% | {blank:.1}% | {other:.1}% |",
                kind.name(),
                row.count
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_right_when_they_overlap_by_half() {
        let markup = LocationMarkup::default();
        let written = |x0, x1| markup.location(BoundingBox::new(x0, 0.0, x1, 0.5));
        let random = &mut crate::world::split::seeded(1);
        let question = Question::ask(random, Kind::Box, &[""], "", written(0.0, 0.5));
        assert!(is_right(&question, &written(0.0, 0.5)));
        assert!(is_right(&question, &written(0.1, 0.5)));
        assert!(!is_right(&question, &written(0.4, 0.9)));
        assert!(!is_right(&question, "somewhere"));
    }

    #[test]
    fn a_question_that_offers_two_answers_is_guessed_in_one_of_two() {
        let asked = questions(2, 60);
        let guess = guesses(&asked);
        let of_size = || (asked.iter().zip(&guess)).filter(|(a, _)| a.question.kind == Kind::Size);
        assert!(of_size().all(|(a, guess)| a.question.offers.contains(guess)));
        let right = of_size().filter(|(a, guess)| is_right(&a.question, guess));
        let share = right.count() as f64 / of_size().count() as f64;
        assert!((0.5..0.8).contains(&share), "{share}");
    }

    #[test]
    fn there_are_as_many_questions_of_each_kind() {
        let asked = questions(1, 5);
        assert_eq!(asked.len(), 5 * Kind::ALL.len());
        assert_eq!(guesses(&asked).len(), asked.len());
    }
}
