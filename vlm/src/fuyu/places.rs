//! Boxes and points between text, in pixels of the picture as it was given, and tokens, in half pixels of the
//! picture as the model sees it.
//!
//! Source: `processing_fuyu.py` of transformers 4, of which 5.23 has the functions and drops their result.

use vlm_chat_template::grounding::{FuyuMarkup, FuyuPiece};
use vlm_core::{Error, Size};
use vlm_text::Tokenizer;
use vlm_vision::processor::SizeRule;

use super::tokens::id;

const BOX: [&str; 2] = ["<0x00>", "<0x01>"];
const POINT: [&str; 2] = ["<0x02>", "<0x03>"];

/// Pixels that the model sees for one of the picture's, each way as the reference computes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// From the sizes in whole pixels, for prompts.
    written: f64,
    /// From the ratio before pixels are whole, for answers.
    read: f32,
}

impl Scale {
    /// The scale of a picture that is shrunk into `limit` where it is larger.
    pub fn new(original: Size, limit: Size) -> Self {
        if original.height <= limit.height && original.width <= limit.width {
            return Self {
                written: 1.0,
                read: 1.0,
            };
        }
        let resized = SizeRule::Within(limit).apply(original);
        // The reference keeps both in torch's tensors, which are of 32 bits and by which a number is divided as
        // times the reciprocal.
        let ratio = |limit: usize, side: usize| limit as f32 * (side as f32).recip();
        let written = (resized.height as f64 / original.height as f64) as f32;
        Self {
            written: f64::from(written),
            read: ratio(limit.height, original.height).min(ratio(limit.width, original.width)),
        }
    }

    /// The number that is written for a coordinate of a prompt.
    fn write(self, coordinate: f64) -> i64 {
        (coordinate / 2.0 * self.written).round_ties_even() as i64
    }

    /// The coordinate that a number of an answer means.
    fn read(self, number: f64) -> i64 {
        let whole = (number as f32 * self.read.recip()) as i64;
        whole.saturating_mul(2)
    }
}

/// The ids of a prompt, `end` behind it. Texts between places are tokenised apart.
///
/// # Errors
///
/// When the markup is malformed, or the vocabulary has no token for a coordinate.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    end: &str,
    scale: Scale,
) -> Result<Vec<u32>, Error> {
    let pieces = FuyuMarkup::pieces(text);
    let pieces = pieces.map_err(|error| Error::Request(error.to_string()))?;
    let (pieces, last) = match pieces.split_last() {
        Some((FuyuPiece::Text(last), pieces)) => (pieces, Some(*last)),
        Some(_) => (&pieces[..], None),
        None => (&[][..], Some("")),
    };
    let mut ids = Vec::new();
    for piece in pieces {
        match piece {
            FuyuPiece::Text(text) => ids.extend(tokenizer.encode(text, false)?),
            FuyuPiece::Box(numbers) => place(tokenizer, BOX, numbers, scale, &mut ids)?,
            FuyuPiece::Point(numbers) => place(tokenizer, POINT, numbers, scale, &mut ids)?,
        }
    }
    match last {
        // One text for the tokenizer, as in the reference.
        Some(text) => ids.extend(tokenizer.encode(&format!("{text}{end}"), false)?),
        None => ids.push(id(tokenizer, end)?),
    }
    Ok(ids)
}

fn place(
    tokenizer: &Tokenizer,
    [open, close]: [&str; 2],
    coordinates: &[f64],
    scale: Scale,
    ids: &mut Vec<u32>,
) -> Result<(), Error> {
    ids.push(id(tokenizer, open)?);
    for coordinate in coordinates {
        let number = scale.write(*coordinate);
        let token = tokenizer.token_id(&number.to_string());
        ids.push(token.ok_or_else(|| {
            let message = format!(
                "the tokenizer has no token `{number}` for the coordinate {coordinate} of the prompt"
            );
            Error::Request(message)
        })?);
    }
    ids.push(id(tokenizer, close)?);
    Ok(())
}

/// The text of an answer's ids, with boxes and points as ` <box>y1, x1, y2, x2</box>` and ` <point>x, y</point>` in
/// pixels, as the reference writes them.
///
/// A place is its opening token, as many tokens of digits as it needs, and its closing token. Anything else, a
/// token without its other half, fewer numbers or more, is none and stays as the tokenizer decodes it. (The
/// reference does not come back from such an answer, and does not see a box at its first token.)
pub(super) fn decode(tokenizer: &Tokenizer, tokens: &[u32], scale: Scale) -> String {
    let mut text = String::new();
    let mut stream = tokenizer.stream();
    let mut rest = tokens;
    while let [first, others @ ..] = rest {
        let place = markup::<4>(tokenizer, rest, BOX, "box", scale)
            .or_else(|| markup::<2>(tokenizer, rest, POINT, "point", scale));
        match place {
            Some((markup, length)) => {
                // No decoder leaves a space in front of a text.
                text += if text.is_empty() { "" } else { " " };
                text += &markup;
                rest = &rest[length..];
            }
            None => {
                text += &stream.push(*first);
                rest = others;
            }
        }
    }
    text + &stream.finish()
}

/// The markup of the place at the beginning of an answer, and the number of its tokens.
fn markup<const N: usize>(
    tokenizer: &Tokenizer,
    tokens: &[u32],
    [open, close]: [&str; 2],
    tag: &str,
    scale: Scale,
) -> Option<(String, usize)> {
    let (open, close) = (tokenizer.token_id(open)?, tokenizer.token_id(close)?);
    let body = tokens.strip_prefix(&[open])?;
    let (numbers, rest) = body.split_first_chunk::<N>()?;
    rest.strip_prefix(&[close])?;
    let coordinates = numbers
        .iter()
        .map(|id| coordinate(&tokenizer.token(*id)?, scale));
    let coordinates: Vec<String> = coordinates.collect::<Option<_>>()?;
    Some((markup_of(tag, &coordinates), N + 2))
}

/// A text in which an answer's tokens stand by their names, `<0x00>10 20 30 40<0x01>`, with places as
/// [`decode`] writes them; numbers are parted by spaces or commas. What is no place stays as it is.
pub(super) fn readable(text: &str, scale: Scale) -> String {
    let mut readable = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        readable += &rest[..start];
        rest = &rest[start..];
        let place =
            named::<4>(rest, BOX, "box", scale).or_else(|| named::<2>(rest, POINT, "point", scale));
        match place {
            Some((markup, after)) => {
                readable += &markup;
                rest = after;
            }
            None => {
                readable.push('<');
                rest = &rest[1..];
            }
        }
    }
    readable + rest
}

/// The markup of the place at the beginning of a text, and what follows.
fn named<'a, const N: usize>(
    text: &'a str,
    [open, close]: [&str; 2],
    tag: &str,
    scale: Scale,
) -> Option<(String, &'a str)> {
    let body = text.strip_prefix(open)?;
    let (body, rest) = body.split_at(body.find('<')?);
    let rest = rest.strip_prefix(close)?;
    let fields = body.split([' ', ',']).filter(|field| !field.is_empty());
    let coordinates: Vec<String> = fields
        .map(|digits| coordinate(digits, scale))
        .collect::<Option<_>>()?;
    (coordinates.len() == N).then(|| (markup_of(tag, &coordinates), rest))
}

/// The pixel that a number's digits mean.
fn coordinate(digits: &str, scale: Scale) -> Option<String> {
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: f64 = digits.parse().ok().filter(|_| whole)?;
    Some(scale.read(number).to_string())
}

fn markup_of(tag: &str, coordinates: &[String]) -> String {
    format!("<{tag}>{}</{tag}>", coordinates.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_by_their_names_are_places() {
        let scale = Scale::new(Size::new(10, 10), Size::new(10, 10));
        for (text, wanted) in [
            (
                "a <0x00>1 2 3 40<0x01> cat<0x02>5,6<0x03>",
                "a <box>2, 4, 6, 80</box> cat<point>10, 12</point>",
            ),
            ("<0x00>1 2 3<0x01>", "<0x00>1 2 3<0x01>"),
            ("<0x00>1234<0x01>", "<0x00>1234<0x01>"),
            ("<0x00>1 2 -3 4<0x01>", "<0x00>1 2 -3 4<0x01>"),
            ("<0x00>1 2 3 4", "<0x00>1 2 3 4"),
            ("<0x00><0x00>1 2 3 4<0x01><", "<0x00><box>2, 4, 6, 8</box><"),
        ] {
            assert_eq!(readable(text, scale), wanted);
        }
    }

    #[test]
    fn small_pictures_keep_their_pixels() {
        let limit = Size::new(1080, 1920);
        let scale = Scale::new(Size::new(1080, 31), limit);
        // Half to even.
        assert_eq!([1.0, 3.0, 5.0].map(|c| scale.write(c)), [0, 2, 2]);
        assert_eq!(scale.read(200.0), 400);
    }

    #[test]
    fn each_way_has_its_ratio() {
        // 1999 rows become 1080 of 1080.4 columns, and 0.5402 of a pixel stands for one.
        let scale = Scale::new(Size::new(1999, 2000), Size::new(1080, 1920));
        assert_eq!(scale.write(1000.0), 270);
        assert_eq!(scale.read(270.0), 998);
        assert_eq!(scale.read(f64::MAX), i64::MAX);
    }
}
