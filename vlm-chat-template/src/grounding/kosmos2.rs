//! Kosmos-2's markup: phrases, and objects as pairs of patches of a grid.

use std::ops::Range;

use super::{BoundingBox, Entity, Grounding};
use crate::{Error, Part, PartKind, python::is_space};

const PHRASE: &str = "<phrase>";
const PHRASE_END: &str = "</phrase>";
const OBJECT: &str = "<object>";
const OBJECT_END: &str = "</object>";
const DELIMITER: &str = "</delimiter_of_multi_objects/>";
const IMAGE_END: &str = "</image>";

/// Kosmos-2's grounding ([Peng et al. 2023](https://arxiv.org/abs/2306.14824)): a picture is a grid of
/// patches, and a box is its upper left and its lower right patch.
///
/// ```
/// use vlm_chat_template::grounding::{BoundingBox, Kosmos2Markup};
///
/// let markup = Kosmos2Markup::default();
/// let dog = BoundingBox::new(0.1, 0.1, 0.5, 0.9);
/// let prompt = markup.insert_boxes("<grounding><phrase> A dog</phrase> runs", &[vec![dog]])?;
/// assert_eq!(
///     prompt,
///     "<grounding><phrase> A dog</phrase><object> <patch_index_0099> <patch_index_0911> </object> runs"
/// );
/// # Ok::<(), vlm_chat_template::Error>(())
/// ```
///
/// Source: transformers' `models/kosmos2/processing_kosmos2.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kosmos2Markup {
    patches_per_side: u32,
}

/// An entity before its markup is removed; ranges are in bytes of the marked text.
struct Marked<'a> {
    phrase: Option<&'a str>,
    span: Range<usize>,
    pairs: Vec<[u32; 2]>,
}

impl Default for Kosmos2Markup {
    /// 32 × 32 patches, as all released checkpoints have.
    fn default() -> Self {
        Self {
            patches_per_side: 32,
        }
    }
}

impl Kosmos2Markup {
    /// Markup on a grid of `patches_per_side`².
    ///
    /// # Panics
    ///
    /// When `patches_per_side` is 0 or above 4096.
    pub fn new(patches_per_side: u32) -> Self {
        assert!(
            (1..=4096).contains(&patches_per_side),
            "a grid has from 1 to 4096 patches a side"
        );
        Self { patches_per_side }
    }

    /// Reads an answer: what follows its last `</image>`, without tags, and its entities.
    ///
    /// Malformed markup is no error. Everything from a `<` to the next `>` of its line leaves the caption; an
    /// `<object>` that does not hold pairs of patches, or one with a number above `u32`, makes no entity; one
    /// without a `<phrase>` right before it makes an entity for each box, named by its patches, at an empty
    /// span. Numbers outside of the grid and corners in the wrong order are calculated with as they are, as
    /// in the reference.
    pub fn parse(&self, text: &str) -> Grounding {
        let text = text.rsplit(IMAGE_END).next().unwrap_or(text);
        let tags = tags(text);
        let plain: String = kept(text, &tags).collect();
        let caption = plain.trim_matches(is_space);
        let leading = chars(&plain) - chars(plain.trim_start_matches(is_space));
        let mut counter = Counter::new(text, &tags);
        let mut entities = Vec::new();
        for marked in marked(text) {
            let start = counter.kept_until(marked.span.start) - leading;
            let end = counter.kept_until(marked.span.end) - leading;
            let boxes = marked.pairs.iter().map(|pair| self.coordinates(*pair));
            match marked.phrase {
                Some(phrase) => entities.push(Entity {
                    text: phrase.trim_matches(is_space).to_owned(),
                    start: start + chars(phrase) - chars(phrase.trim_start_matches(is_space)),
                    end: end - chars(phrase) + chars(phrase.trim_end_matches(is_space)),
                    boxes: boxes.collect(),
                    points: Vec::new(),
                }),
                None => {
                    entities.extend(boxes.zip(&marked.pairs).map(|(one, [first, last])| Entity {
                        text: format!("<patch_index_{first}><patch_index_{last}>"),
                        start,
                        end,
                        boxes: vec![one],
                        points: Vec::new(),
                    }))
                }
            }
        }
        Grounding {
            caption: caption.to_owned(),
            entities,
        }
    }

    /// Puts boxes behind the `<phrase> … </phrase>` pairs of a prompt, a list for each; an empty list leaves
    /// its phrase without boxes.
    ///
    /// # Errors
    ///
    /// When there are not as many lists as phrases, or for a box as [`patches`](Self::patches).
    pub fn insert_boxes(&self, text: &str, boxes: &[Vec<BoundingBox>]) -> Result<String, Error> {
        if boxes.is_empty() {
            return Ok(text.to_owned());
        }
        let ends = phrase_ends(text);
        if ends.len() != boxes.len() {
            return Err(Error::Grounding(format!(
                "expected boxes for each of the {} `<phrase> … </phrase>` in the text, found {}",
                ends.len(),
                boxes.len()
            )));
        }
        let mut marked = String::with_capacity(text.len());
        let mut at = 0;
        for (end, boxes) in ends.into_iter().zip(boxes) {
            marked += &text[at..end];
            marked += &self.object(boxes)?;
            at = end;
        }
        Ok(marked + &text[at..])
    }

    /// A prompt from the parts of a message: texts as they are, phrases with their boxes. Pictures stand in
    /// front of a prompt and are left out.
    ///
    /// ```
    /// use vlm_chat_template::{Part, grounding::{BoundingBox, Kosmos2Markup}};
    ///
    /// let parts = [
    ///     Part::image(),
    ///     Part::text("<grounding> What does"),
    ///     Part::phrase(" it", &[BoundingBox::new(0.0, 0.0, 0.5, 0.5)]),
    ///     Part::text(" hold?"),
    /// ];
    /// assert_eq!(
    ///     Kosmos2Markup::default().prompt(&parts)?,
    ///     "<grounding> What does<phrase> it</phrase><object> <patch_index_0000> <patch_index_0495> </object> hold?"
    /// );
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a part is of another kind or has points, its boxes are no boxes, or for a box as
    /// [`patches`](Self::patches).
    pub fn prompt(&self, parts: &[Part]) -> Result<String, Error> {
        let mut prompt = String::new();
        for part in parts {
            match part.kind() {
                PartKind::Text(text) => prompt += text,
                PartKind::Phrase(text) => {
                    if !part.points()?.is_empty() {
                        let message = "this markup has boxes and no points";
                        return Err(Error::Grounding(message.to_owned()));
                    }
                    prompt = prompt + PHRASE + text + PHRASE_END + &self.object(&part.boxes()?)?;
                }
                PartKind::Image(_) => {}
                PartKind::Other(json) => {
                    let message = format!("expected a text, a phrase or an image, found {json}");
                    return Err(Error::Grounding(message));
                }
            }
        }
        Ok(prompt)
    }

    /// The numbers of the patches at the upper left and the lower right of a box, counted row by row.
    ///
    /// # Errors
    ///
    /// Unless `0 <= x0 < x1 <= 1`, and the same for y.
    pub fn patches(&self, edges: BoundingBox) -> Result<[u32; 2], Error> {
        edges.check()?;
        let BoundingBox { x0, y0, x1, y1 } = edges;
        let side = f64::from(self.patches_per_side);
        let first = |share: f64| (share * side).floor() as u32;
        let last = |share: f64| (share * side - 1.0).ceil() as u32;
        let index = |x: u32, y: u32| y * self.patches_per_side + x;
        Ok([index(first(x0), first(y0)), index(last(x1), last(y1))])
    }

    /// The box of two patches: from centre to centre, or whole patches where both are in one row or column.
    pub fn coordinates(&self, [first, last]: [u32; 2]) -> BoundingBox {
        let side = self.patches_per_side;
        let cell = 1.0 / f64::from(side);
        let corner = |index: u32| [index % side, index / side];
        let ([x0, y0], [x1, y1]) = (corner(first), corner(last));
        let (near, far) = match x0 == x1 || y0 == y1 {
            true => (0.0, cell),
            false => (cell / 2.0, cell / 2.0),
        };
        let place = |number: u32, shift: f64| f64::from(number) * cell + shift;
        BoundingBox::new(
            place(x0, near),
            place(y0, near),
            place(x1, far),
            place(y1, far),
        )
    }

    /// The markup of a phrase's boxes, nothing for none.
    fn object(&self, boxes: &[BoundingBox]) -> Result<String, Error> {
        let pair = |edges: &BoundingBox| {
            let [first, last] = self.patches(*edges)?;
            Ok(format!("<patch_index_{first:04}> <patch_index_{last:04}>"))
        };
        let pairs: Vec<String> = boxes.iter().map(pair).collect::<Result<_, Error>>()?;
        Ok(match pairs.is_empty() {
            true => String::new(),
            false => format!(
                "{OBJECT} {} {OBJECT_END}",
                pairs.join(&format!(" {DELIMITER} "))
            ),
        })
    }
}

fn chars(text: &str) -> i64 {
    text.chars().count() as i64
}

/// The matches of `<.*?>`: from a `<` to the next `>`, unless the line ends before.
fn tags(text: &str) -> Vec<Range<usize>> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('<').map(|found| at + found) {
        let Some(end) = text[start..].find(['>', '\n']).map(|found| start + found) else {
            break;
        };
        at = end + 1;
        if text[end..].starts_with('>') {
            tags.push(start..at);
        }
    }
    tags
}

/// What stands between tags.
fn kept<'a>(text: &'a str, tags: &[Range<usize>]) -> impl Iterator<Item = &'a str> {
    let starts = std::iter::once(0).chain(tags.iter().map(|tag| tag.end));
    let ends = tags.iter().map(|tag| tag.start).chain([text.len()]);
    starts.zip(ends).map(|(start, end)| &text[start..end])
}

/// Counts the characters outside of tags up to places that are asked for in order.
struct Counter<'a> {
    text: &'a str,
    tags: &'a [Range<usize>],
    at: usize,
    count: i64,
}

impl<'a> Counter<'a> {
    fn new(text: &'a str, tags: &'a [Range<usize>]) -> Self {
        Self {
            text,
            tags,
            at: 0,
            count: 0,
        }
    }

    /// As the reference, which removes tags from the text up to `place`: one that ends later stays.
    fn kept_until(&mut self, place: usize) -> i64 {
        while let Some((tag, rest)) = self.tags.split_first()
            && tag.end <= place
        {
            self.count += chars(&self.text[self.at..tag.start]);
            (self.at, self.tags) = (tag.end, rest);
        }
        self.count + chars(&self.text[self.at..place])
    }
}

/// The entities of a text, as the reference's pattern finds them.
fn marked(text: &str) -> Vec<Marked<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('<').map(|found| at + found) {
        at = start + 1;
        let phrase = phrase(&text[start..]);
        let from =
            start + phrase.map_or(0, |phrase| PHRASE.len() + phrase.len() + PHRASE_END.len());
        if let Some((pairs, rest)) = object(&text[from..]) {
            let span = match phrase {
                Some(phrase) => start + PHRASE.len()..start + PHRASE.len() + phrase.len(),
                None => start..start,
            };
            found.push(Marked {
                phrase,
                span,
                pairs,
            });
            at = text.len() - rest.len();
        }
    }
    found
}

/// `<phrase>([^<]+)</phrase>` at the beginning of a text.
fn phrase(text: &str) -> Option<&str> {
    let text = text.strip_prefix(PHRASE)?;
    let end = text.find('<').filter(|end| *end > 0)?;
    text[end..].starts_with(PHRASE_END).then(|| &text[..end])
}

/// The pairs of an `<object>` at the beginning of a text, and what follows.
fn object(text: &str) -> Option<(Vec<[u32; 2]>, &str)> {
    let mut text = text.strip_prefix(OBJECT)?;
    let mut pairs = Vec::new();
    loop {
        let (first, rest) = patch(text)?;
        let (last, rest) = patch(rest)?;
        pairs.push([first, last]);
        match rest.strip_prefix(DELIMITER) {
            Some(rest) => text = rest,
            None => return Some((pairs, rest.strip_prefix(OBJECT_END)?)),
        }
    }
}

/// `<patch_index_(\d+)>` at the beginning of a text.
fn patch(text: &str) -> Option<(u32, &str)> {
    let text = text.strip_prefix("<patch_index_")?;
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest.strip_prefix('>')?))
}

/// Where the matches of `<phrase>.+?</phrase>` end.
fn phrase_ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(PHRASE).map(|found| at + found) {
        at = start + PHRASE.len();
        let first = text[at..].chars().next().map_or(0, char::len_utf8);
        let Some(length) = text[at + first..].find(PHRASE_END) else {
            break;
        };
        let end = at + first + length;
        match text[at..end].find('\n') {
            // No phrase that begins before the line break can end after it.
            Some(line_break) => at += line_break,
            None => {
                at = end + PHRASE_END.len();
                ends.push(at);
            }
        }
    }
    ends
}
