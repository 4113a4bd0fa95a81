//! A rendered prompt.

use std::ops::Range;

use crate::{ControlTokens, Error, Piece, sanitized_pieces};

/// A prompt, where the assistant's words stand in it, and which control tokens are a user's.
///
/// ```
/// use vlm_chat_template::{ChatTemplate, Message, RenderOptions};
///
/// let template = ChatTemplate::new(
///     "{% for m in messages %}{% if m.role == 'assistant' %}A: {% generation %}{{ m.content }}{% endgeneration %}\
///      {% else %}U: {{ m.content }} {% endif %}{% endfor %}",
/// )?;
/// let prompt = template.render(&[Message::user("Hé?"), Message::assistant("Yes")], &RenderOptions::new())?;
/// assert_eq!(prompt.text(), "U: Hé? A: Yes");
/// assert_eq!(prompt.generated()?, [11..14]);
/// assert_eq!(prompt.generated_chars()?, [10..13]);
/// # Ok::<(), vlm_chat_template::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub(crate) template: String,
    pub(crate) text: String,
    // `Err` has the number of a block whose place is unknown.
    pub(crate) generated: Result<Vec<Range<usize>>, usize>,
    // Ends of the pieces and whether they are literal; empty when not sanitized.
    pub(crate) pieces: Vec<(usize, bool)>,
}

impl Rendered {
    /// The prompt.
    ///
    /// After [`render_sanitized`](crate::ChatTemplate::render_sanitized) do not tokenize it as a
    /// whole, but by [`pieces`](Self::pieces).
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The prompt, owned.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Byte ranges of what the template's `{% generation %}` blocks wrote, in order of rendering.
    /// Empty when it has none; then see
    /// [`ChatTemplate::render_turns`](crate::ChatTemplate::render_turns).
    ///
    /// # Errors
    ///
    /// [`Error::GenerationPlace`] when a block is inside of a macro or a set block. (The reference
    /// returns wrong places there.)
    pub fn generated(&self) -> Result<&[Range<usize>], Error> {
        match &self.generated {
            Ok(spans) => Ok(spans),
            Err(block) => Err(Error::GenerationPlace {
                template: self.template.clone(),
                block: *block,
            }),
        }
    }

    /// As [`generated`](Self::generated), counted in characters, as Python does.
    pub fn generated_chars(&self) -> Result<Vec<Range<usize>>, Error> {
        let chars = |at: usize| self.text[..at].chars().count();
        Ok(self
            .generated()?
            .iter()
            .map(|span| chars(span.start)..chars(span.end))
            .collect())
    }

    /// Which tokens the assistant wrote, given the tokens' byte ranges in the text: those that
    /// overlap a generated span, as in the reference's processors
    /// (`return_assistant_tokens_mask`). A token in which words of both sides meet is the
    /// assistant's; tokens that were added around the text never are.
    ///
    /// ```
    /// use vlm_chat_template::{ChatTemplate, Message, RenderOptions};
    ///
    /// let template = ChatTemplate::new("Q:{% generation %}{{ messages[0].content }}{% endgeneration %};")?;
    /// let prompt = template.render(&[Message::assistant("four")], &RenderOptions::new())?;
    /// let offsets = [(0, 0), (0, 2), (2, 4), (4, 7)];
    /// assert_eq!(prompt.token_mask(offsets)?, [false, false, true, true]);
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn token_mask(
        &self,
        offsets: impl IntoIterator<Item = (usize, usize)>,
    ) -> Result<Vec<bool>, Error> {
        let spans = self.generated()?;
        // A token of no width inside a span is white space that a tokenizer left out of its offsets.
        let inside = |(start, end): (usize, usize)| {
            spans
                .iter()
                .any(|span| start < span.end && end > span.start)
        };
        Ok(offsets.into_iter().map(inside).collect())
    }

    /// The prompt in pieces that are to be tokenized one by one; a single one when it was not
    /// sanitized.
    ///
    /// A tokenizer that puts a space before every text (SentencePiece) needs care from the second
    /// piece on: the reference encodes `"\n" + piece` and drops the tokens of the line break.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let whole =
            (self.pieces.is_empty() && !self.text.is_empty()).then_some((self.text.len(), false));
        let mut start = 0;
        self.pieces
            .iter()
            .copied()
            .chain(whole)
            .map(move |(end, literal)| {
                let text = &self.text[std::mem::replace(&mut start, end)..end];
                if literal {
                    Piece::Literal(text)
                } else {
                    Piece::Text(text)
                }
            })
    }

    /// Takes the markers out of the text and keeps what they say.
    pub(crate) fn resolve_markers(mut self, tokens: &ControlTokens) -> Self {
        let marked = std::mem::take(&mut self.text);
        // (place in the marked text, place in the text) of each piece's end.
        let mut ends = vec![(0, 0)];
        for piece in sanitized_pieces(&marked, tokens) {
            let piece_text = piece.as_str();
            let start = piece_text.as_ptr() as usize - marked.as_ptr() as usize;
            self.text.push_str(piece_text);
            self.pieces
                .push((self.text.len(), matches!(piece, Piece::Literal(_))));
            ends.push((start + piece_text.len(), self.text.len()));
        }
        let place = |marked_at: usize| {
            let next = ends
                .partition_point(|(marked_end, _)| *marked_end < marked_at)
                .min(ends.len() - 1);
            let (marked_end, end) = ends[next];
            let begin = ends[next.saturating_sub(1)].1;
            end.saturating_sub(marked_end.saturating_sub(marked_at))
                .max(begin)
        };
        if let Ok(spans) = &mut self.generated {
            spans
                .iter_mut()
                .for_each(|span| *span = place(span.start)..place(span.end));
        }
        self
    }
}
