//! Fuyu's markup: boxes and points in pixels of the picture.

use super::{BoundingBox, Entity, Grounding, Point};
use crate::{Error, Part, PartKind, python::is_space};

const BOX: Tags = Tags {
    open: "<box>",
    close: "</box>",
    numbers: 4,
    form: "y1, x1, y2, x2",
};
const POINT: Tags = Tags {
    open: "<point>",
    close: "</point>",
    numbers: 2,
    form: "x, y",
};

struct Tags {
    open: &'static str,
    close: &'static str,
    numbers: usize,
    form: &'static str,
}

/// Fuyu's grounding: `<box>y1, x1, y2, x2</box>` and `<point>x, y</point>`, in pixels of the picture as it was
/// given, in prompts and in answers alike.
///
/// ```
/// use vlm_chat_template::grounding::{FuyuMarkup, Point};
///
/// let markup = FuyuMarkup::new(200, 400);
/// let grounding = markup.parse("the sign <box>20, 40, 60, 300</box> reads \"stop\"");
/// assert_eq!(grounding.caption, "the sign reads \"stop\"");
/// assert_eq!(
///     serde_json::to_string(&grounding.entities)?,
///     r#"[{"text":"<box>20, 40, 60, 300</box>","start":8,"end":8,"boxes":[[0.1,0.1,0.75,0.3]]}]"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// Source: transformers' `models/fuyu/processing_fuyu.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuyuMarkup {
    height: usize,
    width: usize,
}

/// A piece of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FuyuPiece<'a> {
    /// What stands between places.
    Text(&'a str),
    /// `[y1, x1, y2, x2]` in pixels.
    Box([f64; 4]),
    /// `[x, y]` in pixels.
    Point([f64; 2]),
}

impl FuyuMarkup {
    /// Markup about a picture of `height` × `width` pixels.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// Reads an answer: its text without places, and the places.
    ///
    /// The markup has no words for what it points at, so an entity's text is the markup itself, at an empty
    /// span. One space in front of it is a part of it: the reference writes it so. Malformed markup is no error and no entity: a tag without its other half, or with anything but as
    /// many numbers as it needs between the two, stays in the caption as it is.
    pub fn parse(&self, text: &str) -> Grounding {
        let mut caption = String::new();
        let mut entities = Vec::new();
        let mut count = 0_i64;
        let add = |caption: &mut String, count: &mut i64, text: &str| {
            caption.push_str(text);
            *count += text.chars().count() as i64;
        };
        let mut at = 0;
        while let Some(start) = text[at..].find('<').map(|found| at + found) {
            let Some((piece, length)) = place(&text[start..]) else {
                add(&mut caption, &mut count, &text[at..=start]);
                at = start + 1;
                continue;
            };
            let before = &text[at..start];
            add(
                &mut caption,
                &mut count,
                before.strip_suffix(' ').unwrap_or(before),
            );
            at = start + length;
            let mut entity = Entity {
                text: text[start..at].to_owned(),
                start: count,
                end: count,
                boxes: Vec::new(),
                points: Vec::new(),
            };
            match piece {
                FuyuPiece::Box([y0, x0, y1, x1]) => {
                    let edges = [x0, y0, x1, y1];
                    let edges = BoundingBox::from_pixels(edges, self.height, self.width);
                    entity.boxes.push(edges);
                }
                FuyuPiece::Point(point) => {
                    let point = Point::from_pixels(point, self.height, self.width);
                    entity.points.push(point);
                }
                FuyuPiece::Text(_) => {}
            }
            entities.push(entity);
        }
        add(&mut caption, &mut count, &text[at..]);
        let trimmed = caption.trim_matches(is_space);
        let length = trimmed.chars().count() as i64;
        let leading = caption.trim_start_matches(is_space);
        let leading = count - leading.chars().count() as i64;
        for entity in &mut entities {
            entity.start = (entity.start - leading).clamp(0, length);
            entity.end = entity.start;
        }
        Grounding {
            caption: trimmed.to_owned(),
            entities,
        }
    }

    /// Parts a prompt into texts and places.
    ///
    /// ```
    /// use vlm_chat_template::grounding::{FuyuMarkup, FuyuPiece};
    ///
    /// let pieces = FuyuMarkup::pieces("What is in <box>1, 2, 3, 4</box>?")?;
    /// let wanted = [
    ///     FuyuPiece::Text("What is in "),
    ///     FuyuPiece::Box([1.0, 2.0, 3.0, 4.0]),
    ///     FuyuPiece::Text("?"),
    /// ];
    /// assert_eq!(pieces, wanted);
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a tag has no other half, or there are not as many numbers as it needs between the two.
    pub fn pieces(text: &str) -> Result<Vec<FuyuPiece<'_>>, Error> {
        let mut pieces = Vec::new();
        let (mut begin, mut at) = (0, 0);
        while let Some(start) = text[at..].find('<').map(|found| at + found) {
            at = start + 1;
            let rest = &text[start..];
            let Some(tags) = [BOX, POINT]
                .into_iter()
                .find(|tags| rest.starts_with(tags.open) || rest.starts_with(tags.close))
            else {
                continue;
            };
            let Some((piece, length)) = place(rest) else {
                return Err(tags.refusal(rest));
            };
            if begin < start {
                pieces.push(FuyuPiece::Text(&text[begin..start]));
            }
            pieces.push(piece);
            at = start + length;
            begin = at;
        }
        if begin < text.len() {
            pieces.push(FuyuPiece::Text(&text[begin..]));
        }
        Ok(pieces)
    }

    /// A prompt from the parts of a message: texts as they are, phrases with their boxes and points behind them.
    /// Pictures stand in front of a prompt and are left out.
    ///
    /// ```
    /// use vlm_chat_template::{Part, grounding::{BoundingBox, FuyuMarkup, Point}};
    ///
    /// let parts = [
    ///     Part::image(),
    ///     Part::phrase("What is in", &[BoundingBox::new(0.5, 0.0, 1.0, 0.5)]),
    ///     Part::phrase(" and at", &[]).with_points(&[Point::new(0.25, 0.5)]),
    ///     Part::text("?"),
    /// ];
    /// assert_eq!(
    ///     FuyuMarkup::new(200, 400).prompt(&parts)?,
    ///     "What is in<box>0, 200, 100, 400</box> and at<point>100, 100</point>?"
    /// );
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a part is of another kind, or its boxes and points are none within the picture.
    pub fn prompt(&self, parts: &[Part]) -> Result<String, Error> {
        let mut prompt = String::new();
        for part in parts {
            match part.kind() {
                PartKind::Text(text) => prompt += text,
                PartKind::Phrase(text) => {
                    prompt += text;
                    for edges in part.boxes()? {
                        edges.check()?;
                        let [x0, y0, x1, y1] = edges.to_pixels(self.height, self.width);
                        prompt += &format!("<box>{y0}, {x0}, {y1}, {x1}</box>");
                    }
                    for point in part.points()? {
                        point.check()?;
                        let [x, y] = point.to_pixels(self.height, self.width);
                        prompt += &format!("<point>{x}, {y}</point>");
                    }
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
}

impl Tags {
    /// Why the tag at the beginning of `rest` is no place.
    fn refusal(&self, rest: &str) -> Error {
        let Self {
            open,
            close,
            numbers,
            form,
        } = self;
        Error::Grounding(match rest.strip_prefix(open) {
            None => format!("the prompt has a `{close}` without a `{open}` before it"),
            Some(body) => match body.find('<').filter(|end| body[*end..].starts_with(close)) {
                None => format!("expected `{open}{form}{close}`, found `{open}` without its end"),
                Some(end) => {
                    let body = &body[..end];
                    format!("expected {numbers} numbers in `{open}{form}{close}`, found `{body}`")
                }
            },
        })
    }
}

/// The place at the beginning of a text, and the length of its markup.
fn place(text: &str) -> Option<(FuyuPiece<'_>, usize)> {
    if let Some((numbers, length)) = numbers::<4>(text, &BOX) {
        return Some((FuyuPiece::Box(numbers), length));
    }
    let (numbers, length) = numbers::<2>(text, &POINT)?;
    Some((FuyuPiece::Point(numbers), length))
}

/// The numbers between two tags at the beginning of a text, and where the second ends.
fn numbers<const N: usize>(text: &str, tags: &Tags) -> Option<([f64; N], usize)> {
    let body = text.strip_prefix(tags.open)?;
    let end = body.find('<')?;
    let rest = body[end..].strip_prefix(tags.close)?;
    let mut fields = body[..end].split(',');
    let mut numbers = [0.0; N];
    for number in &mut numbers {
        let field = fields.next()?.trim_matches(is_space);
        *number = field.parse().ok().filter(|found: &f64| found.is_finite())?;
    }
    match fields.next() {
        None => Some((numbers, text.len() - rest.len())),
        Some(_) => None,
    }
}
