//! Control tokens that stand in user input, and how they are kept from having effect.

use std::{collections::BTreeSet, ops::Range};

use serde_json::Value;

use crate::Message;

// Private-use characters, the same ones as the reference's.
const START: char = '\u{f0000}';
const END: char = '\u{f0001}';

/// The tokens that only the template may write, such as `<image>` or `<|im_end|>`.
///
/// ```
/// use vlm_chat_template::{ControlTokens, Message};
///
/// let tokens = ControlTokens::new(["<image>", "<|im_end|>"]);
/// let found = tokens.find("Please read <image> and </image>.").collect::<Vec<_>>();
/// assert_eq!(found, [12..19]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlTokens {
    tokens: BTreeSet<String>,
    // Lengths in bytes, longest first: a token has priority over the tokens it contains.
    lengths: Vec<usize>,
}

impl ControlTokens {
    /// Control tokens from a list; the order does not matter.
    pub fn new(tokens: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut tokens: BTreeSet<String> = tokens.into_iter().map(Into::into).collect();
        tokens.remove("");
        let lengths: BTreeSet<usize> = tokens.iter().map(String::len).collect();
        ControlTokens {
            tokens,
            lengths: lengths.into_iter().rev().collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(String::as_str)
    }

    /// The control tokens that a text begins with, longest first, by their lengths.
    fn starts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        let known = |len: &usize| {
            text.get(..*len)
                .is_some_and(|start| self.tokens.contains(start))
        };
        self.lengths.iter().copied().filter(known)
    }

    /// The byte ranges of control tokens in a text, from left to right without overlap.
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut from = 0;
        std::iter::from_fn(move || {
            let mut places = text[from..].char_indices().map(|(at, _)| from + at);
            let found = places.find_map(|at| Some(at..at + self.starts(&text[at..]).next()?))?;
            from = found.end;
            Some(found)
        })
    }

    /// Wraps the control tokens of a text into private-use characters, after dropping any that
    /// are there already, so that they cannot be forged. The reference's `mark_control_tokens`.
    ///
    /// ```
    /// # use vlm_chat_template::ControlTokens;
    /// let marked = ControlTokens::new(["<image>"]).mark("an <image>");
    /// assert_eq!(marked, "an \u{f0000}<image>\u{f0001}");
    /// ```
    pub fn mark(&self, text: &str) -> String {
        let text = text.replace([START, END], "");
        let mut marked = String::with_capacity(text.len());
        let mut done = 0;
        for token in self.find(&text) {
            marked.push_str(&text[done..token.start]);
            marked.push(START);
            marked.push_str(&text[token.clone()]);
            marked.push(END);
            done = token.end;
        }
        marked + &text[done..]
    }

    /// Marks every string of a JSON value; keys are left as they are.
    ///
    /// ```
    /// # use vlm_chat_template::ControlTokens;
    /// let mut json = serde_json::json!({ "<s>": ["<s>", 1] });
    /// ControlTokens::new(["<s>"]).mark_json(&mut json);
    /// assert_eq!(json, serde_json::json!({ "<s>": ["\u{f0000}<s>\u{f0001}", 1] }));
    /// ```
    pub fn mark_json(&self, json: &mut Value) {
        match json {
            Value::String(text) => *text = self.mark(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mark_json(item)),
            Value::Object(map) => map.values_mut().for_each(|value| self.mark_json(value)),
            _ => {}
        }
    }

    /// Marks every string of the messages, for a rendering by other means;
    /// [`ChatTemplate::render_sanitized`](crate::ChatTemplate::render_sanitized) does it by itself.
    ///
    /// ```
    /// use vlm_chat_template::{sanitized_pieces, Content, ControlTokens, Message, Piece};
    ///
    /// let tokens = ControlTokens::new(["<image>"]);
    /// let marked = tokens.mark_messages(&[Message::user("an <image>?")]);
    /// let Some(Content::Text(text)) = &marked[0].content else { unreachable!() };
    /// assert_eq!(
    ///     sanitized_pieces(&format!("<image>{text}"), &tokens),
    ///     [Piece::Text("<image>an "), Piece::Literal("<image>"), Piece::Text("?")],
    /// );
    /// ```
    pub fn mark_messages(&self, messages: &[Message]) -> Vec<Message> {
        let mark = |message: &Message| {
            let mut json = Value::Object(message.to_json());
            self.mark_json(&mut json);
            match json {
                Value::Object(map) => {
                    Message::try_from(map).expect("marking keeps a message's form")
                }
                _ => unreachable!("a message is a JSON object"),
            }
        };
        messages.iter().map(mark).collect()
    }
}

/// A stretch of a sanitized prompt, to be tokenized on its own: see
/// [`ChatTemplate::render_sanitized`](crate::ChatTemplate::render_sanitized) and [`sanitized_pieces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Encode with control tokens.
    Text(&'a str),
    /// A control token that a user wrote: encode as plain text, matching no added token.
    Literal(&'a str),
}

impl<'a> Piece<'a> {
    /// The text of either kind.
    pub fn as_str(self) -> &'a str {
        match self {
            Piece::Text(text) | Piece::Literal(text) => text,
        }
    }
}

/// Splits a prompt that was rendered from marked messages. A marker that lost its partner (a
/// template can cut strings) is dropped, but still parts the text, so that its sides cannot join
/// into a control token. The reference's `encode_marked_chat`.
///
/// ```
/// use vlm_chat_template::{sanitized_pieces, ControlTokens, Piece};
///
/// let tokens = ControlTokens::new(["<image>"]);
/// let marked = format!("<image>{} <im\u{f0001}age>", tokens.mark("<image>"));
/// assert_eq!(
///     sanitized_pieces(&marked, &tokens),
///     [Piece::Text("<image>"), Piece::Literal("<image>"), Piece::Text(" <im"), Piece::Text("age>")],
/// );
/// ```
pub fn sanitized_pieces<'a>(marked: &'a str, tokens: &ControlTokens) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = marked;
    while let Some(at) = rest.find([START, END]) {
        pieces.push(Piece::Text(&rest[..at]));
        let inside = &rest[at + START.len_utf8()..];
        let token = tokens
            .starts(inside)
            .find(|len| inside[*len..].starts_with(END));
        rest = match token {
            Some(len) if rest[at..].starts_with(START) => {
                pieces.push(Piece::Literal(&inside[..len]));
                &inside[len + END.len_utf8()..]
            }
            _ => inside,
        };
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| !piece.as_str().is_empty());
    pieces
}
