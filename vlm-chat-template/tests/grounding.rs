//! Kosmos-2's markup equals transformers' on the answers and prompts of `reference/grounding.py`, and holds
//! on texts made of its pieces.

use serde::Deserialize;
use vlm_chat_template::{
    Part,
    grounding::{BoundingBox, Entity, Grounding, Kosmos2Markup},
};

#[derive(Deserialize)]
struct Expected {
    answers: Vec<Answer>,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    caption: String,
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    boxes: Vec<Vec<BoundingBox>>,
    marked: Option<String>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("grounding/kosmos2.json")).unwrap()
}

/// Numbers that look random and are the same at every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn share(&mut self) -> f64 {
        self.roll(1 << 20) as f64 / f64::from(1 << 20)
    }
}

const PIECES: [&str; 18] = [
    "<phrase>",
    "</phrase>",
    "<object>",
    "</object>",
    "</delimiter_of_multi_objects/>",
    "<patch_index_0044>",
    "<patch_index_0863>",
    "<patch_index_4294967296>",
    "<patch_index_",
    "<grounding>",
    "</image>",
    "<",
    ">",
    " ",
    "\n",
    "雪",
    " a fire",
    "0044",
];

#[test]
fn answers_are_read_as_transformers_reads_them() {
    let answers = expected().answers;
    assert!(answers.len() > 100);
    for answer in answers {
        let wanted = Grounding {
            caption: answer.caption,
            entities: answer.entities,
        };
        assert_eq!(
            Kosmos2Markup::default().parse(&answer.text),
            wanted,
            "{:?}",
            answer.text
        );
    }
}

#[test]
fn boxes_are_written_as_transformers_writes_them() {
    for prompt in expected().prompts {
        let found = Kosmos2Markup::default().insert_boxes(&prompt.text, &prompt.boxes);
        assert_eq!(found.ok(), prompt.marked, "{:?}", prompt.text);
    }
}

#[test]
fn any_text_is_read() {
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let pieces = (0..dice.roll(24)).map(|_| PIECES[dice.roll(PIECES.len())]);
        let text: String = pieces.collect();
        let grounding = Kosmos2Markup::default().parse(&text);
        let tag = |line: &str| {
            line.find('<')
                .is_some_and(|start| line[start..].contains('>'))
        };
        assert!(!grounding.caption.lines().any(tag), "{text:?}");
        for entity in grounding.entities {
            assert!(!entity.boxes.is_empty(), "{text:?}");
            assert!(
                entity.end <= grounding.caption.chars().count() as i64,
                "{text:?}"
            );
        }
    }
}

#[test]
fn long_texts_take_no_time() {
    let start = std::time::Instant::now();
    for piece in PIECES
        .iter()
        .chain(&["<phrase>a", "<object><patch_index_1"])
    {
        let text = piece.repeat(1 << 17);
        let _ = Kosmos2Markup::default().parse(&text);
        let _ = Kosmos2Markup::default().insert_boxes(&text, &[Vec::new()]);
    }
    let object = "<object><patch_index_1><patch_index_2></object>";
    let grounding = Kosmos2Markup::default().parse(&object.repeat(1 << 15));
    assert_eq!(grounding.entities.len(), 1 << 15);
    // Quadratic work would take minutes.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn a_box_comes_back_within_a_cell() {
    let markup = Kosmos2Markup::default();
    let mut dice = Dice(11);
    for _ in 0..20_000 {
        let [a, b, c, d] = [0; 4].map(|_| dice.share());
        if a == b || c == d {
            continue;
        }
        let wanted = BoundingBox::new(a.min(b), c.min(d), a.max(b), c.max(d));
        let prompt = markup.prompt(&[Part::phrase("it", &[wanted])]).unwrap();
        // The model writes no spaces between tokens.
        let found = markup.parse(&prompt.replace(' ', "")).entities;
        let [entity] = &found[..] else {
            panic!("{prompt}")
        };
        let [wanted, found] = [wanted, entity.boxes[0]].map(<[f64; 4]>::from);
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1.0 / 32.0;
        assert!(
            wanted.iter().zip(&found).all(near),
            "{wanted:?} became {found:?}"
        );
    }
}

#[test]
fn boxes_that_are_none_are_refused_by_their_numbers() {
    let markup = Kosmos2Markup::default();
    for (edges, shown) in [
        ([0.5, 0.0, 0.5, 1.0], "[0.5, 0, 0.5, 1]"),
        ([0.0, 0.0, 1.5, 1.0], "[0, 0, 1.5, 1]"),
        ([f64::NAN, 0.0, 1.0, 1.0], "[NaN, 0, 1, 1]"),
    ] {
        let error = markup.patches(BoundingBox::from(edges)).unwrap_err();
        assert!(error.to_string().ends_with(shown), "{error}");
    }
    let error = markup.insert_boxes("text", &[Vec::new()]).unwrap_err();
    let wanted = "expected boxes for each of the 0 `<phrase> … </phrase>` in the text, found 1";
    assert_eq!(error.to_string(), wanted);
    let part: Part =
        serde_json::from_str(r#"{"type": "phrase", "text": "x", "boxes": [[1, 2]]}"#).unwrap();
    let error = markup.prompt(&[part]).unwrap_err().to_string();
    assert!(error.starts_with("`boxes` should be a list"), "{error}");
}
