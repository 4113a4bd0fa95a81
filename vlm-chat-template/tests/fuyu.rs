//! Fuyu's markup: what stated rules say of well-formed and of malformed text.

use vlm_chat_template::{
    Part,
    grounding::{BoundingBox, FuyuMarkup, FuyuPiece, Point},
};

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

const PIECES: [&str; 20] = [
    "<box>",
    "</box>",
    "<point>",
    "</point>",
    "<box>1, 2, 3, 4</box>",
    "<point>5,6</point>",
    "1, 2, 3, 4",
    "5, 6",
    "7",
    ", ",
    "-8.5",
    "1e999",
    "nan",
    "<",
    ">",
    " ",
    "\n",
    "雪",
    " a fire",
    "\u{1c}",
];

fn mixed(dice: &mut Dice) -> String {
    let pieces = (0..dice.roll(24)).map(|_| PIECES[dice.roll(PIECES.len())]);
    pieces.collect()
}

#[test]
fn places_leave_the_caption_and_what_is_malformed_stays() {
    let markup = FuyuMarkup::new(100, 200);
    let edges = BoundingBox::new(0.1, 0.1, 0.4, 0.3);
    let point = Point::new(0.5, 0.5);
    let one = "<box>10, 20, 30, 80</box>";
    for (text, caption, places) in [
        ("a cat", "a cat", &[][..]),
        ("", "", &[]),
        (one, "", &[0]),
        (" \n <box> 10,20 , 30,\t80 </box> \n", "", &[0]),
        ("a <box>10, 20, 30, 80</box> cat", "a cat", &[1]),
        ("雪<box>1e1, 2e1, 30.0, +80</box>雪", "雪雪", &[1]),
        (
            "  the <box>10, 20, 30, 80</box><box>10, 20, 30, 80</box>",
            "the",
            &[3, 3],
        ),
        // Malformed: another number of numbers, no numbers, halves, tags that cross.
        ("<box>10, 20, 30</box>", "<box>10, 20, 30</box>", &[]),
        (
            "<box>10, 20, 30, 80, 9</box>",
            "<box>10, 20, 30, 80, 9</box>",
            &[],
        ),
        ("<box>10 20 30 80</box>", "<box>10 20 30 80</box>", &[]),
        ("<box>10, 20, 30, x</box>", "<box>10, 20, 30, x</box>", &[]),
        (
            "<box>10, 20, inf, nan</box>",
            "<box>10, 20, inf, nan</box>",
            &[],
        ),
        ("<box>10, 20, 30, 80", "<box>10, 20, 30, 80", &[]),
        ("10, 20, 30, 80</box>", "10, 20, 30, 80</box>", &[]),
        ("<box></box>", "<box></box>", &[]),
        (
            "<box>10, 20, 30, 80</point>",
            "<box>10, 20, 30, 80</point>",
            &[],
        ),
        ("<box><box>10, 20, 30, 80</box></box>", "<box></box>", &[5]),
    ] {
        let found = markup.parse(text);
        assert_eq!(found.caption, caption, "{text}");
        let starts: Vec<i64> = found.entities.iter().map(|entity| entity.start).collect();
        assert_eq!(starts, places, "{text}");
        for entity in found.entities {
            assert_eq!((entity.boxes, entity.points), (vec![edges], vec![]));
            assert_eq!(entity.start, entity.end);
        }
    }
    let found = markup.parse("here <point>100, 50</point>.");
    assert_eq!(found.caption, "here.");
    assert_eq!(found.entities[0].points, [point]);
    assert_eq!(found.entities[0].text, "<point>100, 50</point>");
}

#[test]
fn any_text_is_read() {
    let mut dice = Dice(7);
    let mut entities = 0;
    for _ in 0..20_000 {
        let text = mixed(&mut dice);
        let grounding = FuyuMarkup::new(30, 40).parse(&text);
        let length = grounding.caption.chars().count() as i64;
        let mut last = 0;
        for entity in &grounding.entities {
            assert!((last..=length).contains(&entity.start), "{text:?}");
            assert_eq!(entity.boxes.len() + entity.points.len(), 1, "{text:?}");
            last = entity.start;
        }
        entities += grounding.entities.len();
        // Nothing but places, spaces before them and spaces around it leaves a text.
        let letters = |text: &str| text.matches('雪').count();
        assert_eq!(letters(&grounding.caption), letters(&text));
    }
    assert!(entities > 20_000, "{entities}");
}

#[test]
fn pieces_of_a_prompt_are_the_prompt() {
    let mut dice = Dice(9);
    let mut read = 0;
    for _ in 0..20_000 {
        let text = mixed(&mut dice);
        let Ok(pieces) = FuyuMarkup::pieces(&text) else {
            continue;
        };
        read += 1;
        let mut rest = text.as_str();
        for piece in pieces {
            rest = match piece {
                FuyuPiece::Text(piece) => rest.strip_prefix(piece).unwrap(),
                FuyuPiece::Box(_) => rest.split_once("</box>").unwrap().1,
                FuyuPiece::Point(_) => rest.split_once("</point>").unwrap().1,
            };
        }
        assert_eq!(rest, "", "{text:?}");
    }
    assert!(read > 1000, "{read}");
}

#[test]
fn long_texts_take_no_time() {
    let start = std::time::Instant::now();
    for piece in PIECES.iter().chain(&["<box>1, ", "<box>1, 2, 3, 4<"]) {
        let text = piece.repeat(1 << 17);
        let _ = FuyuMarkup::new(1, 1).parse(&text);
        let _ = FuyuMarkup::pieces(&text);
    }
    let grounding = FuyuMarkup::new(1, 1).parse(&"<box>1, 2, 3, 4</box>".repeat(1 << 15));
    assert_eq!(grounding.entities.len(), 1 << 15);
    // Quadratic work would take minutes.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn places_of_a_message_come_back() {
    let markup = FuyuMarkup::new(480, 640);
    let mut dice = Dice(11);
    for _ in 0..2000 {
        let [a, b, c, d] = [0; 4].map(|_| dice.share());
        if a == b || c == d {
            continue;
        }
        let edges = BoundingBox::new(a.min(b), c.min(d), a.max(b), c.max(d));
        let point = Point::new(a, d);
        let part = Part::phrase("it", &[edges]).with_points(&[point]);
        let found = markup.parse(&markup.prompt(&[part]).unwrap()).entities;
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        let [first, second] = [found[0].boxes[0], edges].map(<[f64; 4]>::from);
        assert!(near(&first, &second));
        let [first, second] = [found[1].points[0], point].map(<[f64; 2]>::from);
        assert!(near(&first, &second));
    }
}

#[test]
fn malformed_prompts_are_refused() {
    for (text, message) in [
        (
            "a <box>1, 2</box>",
            "expected 4 numbers in `<box>y1, x1, y2, x2</box>`, found `1, 2`",
        ),
        (
            "<point>1, 2, 3, 4</point>",
            "expected 2 numbers in `<point>x, y</point>`, found `1, 2, 3, 4`",
        ),
        (
            "<box>1, 2, 3, 4",
            "expected `<box>y1, x1, y2, x2</box>`, found `<box>` without its end",
        ),
        (
            "<box>1, 2, 3, 4</point>",
            "expected `<box>y1, x1, y2, x2</box>`, found `<box>` without its end",
        ),
        (
            "1, 2</point>",
            "the prompt has a `</point>` without a `<point>` before it",
        ),
    ] {
        let error = FuyuMarkup::pieces(text).unwrap_err().to_string();
        assert_eq!(error, message);
    }
    let markup = FuyuMarkup::new(10, 10);
    let refused = |part: Part| markup.prompt(&[part]).unwrap_err().to_string();
    let empty = BoundingBox::new(0.5, 0.0, 0.5, 1.0);
    assert!(refused(Part::phrase("x", &[empty])).ends_with("found [0.5, 0, 0.5, 1]"));
    let outside = Point::new(0.5, 1.5);
    let part = Part::phrase("x", &[]).with_points(&[outside]);
    assert!(refused(part).ends_with("found [0.5, 1.5]"));
    let part = serde_json::from_str(r#"{"type": "phrase", "text": "x", "points": [[1]]}"#).unwrap();
    assert!(refused(part).starts_with("`points` should be a list"));
    let part = serde_json::from_str(r#"{"type": "video"}"#).unwrap();
    assert!(refused(part).starts_with("expected a text, a phrase or an image"));
}
