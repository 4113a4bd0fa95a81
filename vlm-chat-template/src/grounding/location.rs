//! Location tokens: four of them are a box.

use super::{BoundingBox, Entity, Grounding};
use crate::python::is_space;

const OPEN: &str = "<loc";
/// Places along a side that the four digits of a token count.
const PLACES: u32 = 1024;

/// Boxes as PaliGemma writes them ([Beyer et al. 2024](https://arxiv.org/abs/2407.07726)): upper, left, lower and
/// right edge, each a token `<loc0000>` … `<loc1023>` that counts 1024ths of the picture's side, and behind them
/// what is in the box; `;` stands between boxes.
///
/// ```
/// use vlm_chat_template::grounding::{BoundingBox, LocationMarkup};
///
/// let markup = LocationMarkup::default();
/// let found = markup.parse("<loc0256><loc0512><loc0768><loc1023> red ring ; <loc0000><loc0000><loc0512><loc0512> star");
/// assert_eq!(found.caption, "red ring ; star");
/// assert_eq!(found.entities[0].text, "red ring");
/// assert_eq!(found.entities[0].boxes, [BoundingBox::new(0.5, 0.25, 1023.0 / 1024.0, 0.75)]);
/// assert_eq!((found.entities[1].start, found.entities[1].end), (11, 15));
///
/// // A vocabulary may have fewer of the tokens: here every sixteenth.
/// let coarse = LocationMarkup::new(64);
/// assert_eq!(coarse.location(BoundingBox::new(0.5, 0.25, 1.0, 0.76)), "<loc0256><loc0512><loc0784><loc1008>");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocationMarkup {
    bins: u32,
}

impl Default for LocationMarkup {
    /// All 1024 tokens.
    fn default() -> Self {
        Self { bins: PLACES }
    }
}

impl LocationMarkup {
    /// Markup of a vocabulary that has `bins` of the tokens, at equal distances from `<loc0000>` on.
    ///
    /// # Panics
    ///
    /// When `bins` does not divide 1024.
    pub fn new(bins: u32) -> Self {
        assert!(
            bins > 0 && PLACES.is_multiple_of(bins),
            "the number of location tokens divides {PLACES}, found {bins}"
        );
        Self { bins }
    }

    /// The tokens of a vocabulary, in order.
    pub fn tokens(self) -> impl Iterator<Item = String> {
        let step = PLACES / self.bins;
        (0..self.bins).map(move |bin| format!("{OPEN}{:04}>", bin * step))
    }

    /// The four tokens of a box; edges outside of the picture are moved to its border.
    pub fn location(self, area: BoundingBox) -> String {
        let step = PLACES / self.bins;
        let token = |share: f64| {
            let bin = (share.clamp(0.0, 1.0) * f64::from(self.bins)).round() as u32;
            format!("{OPEN}{:04}>", bin.min(self.bins - 1) * step)
        };
        [area.y0, area.x0, area.y1, area.x1].map(token).concat()
    }

    /// Reads an answer: its text without location tokens, and an entity for each four of them.
    ///
    /// Malformed markup is no error. A row of tokens that is not a multiple of four makes no entity, and a
    /// number that is not four digits below 1024 is text. What stands between a row and the next `;`, row or
    /// end is its entities' text.
    pub fn parse(self, text: &str) -> Grounding {
        let mut caption = String::new();
        let mut entities = Vec::new();
        let mut rest = text;
        while let Some((before, row, after)) = next_row(rest) {
            push(&mut caption, before);
            let end = after.find(';').unwrap_or(after.len());
            let end = next_row(after).map_or(end, |(label, ..)| end.min(label.len()));
            let (label, after) = after.split_at(end);
            push(&mut caption, label);
            let label = label.trim_matches(is_space);
            let stop = caption.trim_end_matches(is_space).chars().count() as i64;
            if row.len().is_multiple_of(4) {
                entities.extend(row.chunks(4).map(|edges| {
                    let share = |index: usize| f64::from(edges[index]) / f64::from(PLACES);
                    Entity {
                        text: label.to_owned(),
                        start: stop - label.chars().count() as i64,
                        end: stop,
                        boxes: vec![BoundingBox::new(share(1), share(0), share(3), share(2))],
                        points: Vec::new(),
                    }
                }));
            }
            rest = after;
        }
        push(&mut caption, rest);
        caption.truncate(caption.trim_end_matches(is_space).len());
        Grounding { caption, entities }
    }
}

/// Adds text whose leading space would stand twice, or at the beginning.
fn push(caption: &mut String, text: &str) {
    let apart = caption.is_empty() || caption.ends_with(is_space);
    caption.push_str(match apart {
        true => text.trim_start_matches(is_space),
        false => text,
    });
}

/// What stands before the next row of location tokens, their numbers, and what stands behind.
fn next_row(text: &str) -> Option<(&str, Vec<u32>, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find(OPEN)?;
        let mut row = Vec::new();
        let mut rest = &text[start..];
        while let Some((place, after)) = token(rest) {
            row.push(place);
            rest = after;
        }
        if !row.is_empty() {
            return Some((&text[..start], row, rest));
        }
        from = start + OPEN.len();
    }
}

fn token(text: &str) -> Option<(u32, &str)> {
    let rest = text.strip_prefix(OPEN)?;
    let (digits, rest) = (rest.get(..4)?, rest.get(4..)?.strip_prefix('>')?);
    let place = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())??;
    (place < PLACES).then_some((place, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back() {
        let markup = LocationMarkup::new(64);
        let area = BoundingBox::new(0.125, 0.25, 0.5, 0.75);
        let found = markup.parse(&format!("{} red ring", markup.location(area)));
        assert_eq!(found.entities[0].boxes, [area]);
        assert_eq!((found.entities[0].start, found.entities[0].end), (0, 8));
    }

    #[test]
    fn malformed_rows_are_text_or_nothing() {
        let parse = |text| LocationMarkup::default().parse(text);
        for (text, caption) in [
            ("<loc0001><loc0002><loc0003> a", "a"),
            ("<loc1024> a", "<loc1024> a"),
            ("<loc12> <loc", "<loc12> <loc"),
            ("<loc0é0>", "<loc0é0>"),
            ("", ""),
        ] {
            let found = parse(text);
            assert_eq!(found.caption, caption);
            assert!(found.entities.is_empty());
        }
        let two =
            parse("é <loc0000><loc0000><loc0001><loc0001> b<loc0000><loc0000><loc0001><loc0001>");
        assert_eq!(two.caption, "é b");
        assert_eq!(two.entities.len(), 2);
        assert_eq!((two.entities[0].start, two.entities[0].end), (2, 3));
        assert_eq!((two.entities[1].start, two.entities[1].end), (3, 3));
    }
}
