use std::{collections::VecDeque, ops::ControlFlow};

use vlm_core::{Error, VisionLanguageModel, nn::KvCache};

use super::{
    Decoding, EndReason, Generated, GenerationConfig, Prefilled, StopFilter, beam::beam_search,
};
use crate::{TextStream, Tokenizer};

/// An answer with its text: see [`generate_text`].
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The tokens' text without special tokens, up to a stop string.
    pub text: String,
    /// The tokens, that of a stop string included, and why there are no more.
    pub generated: Generated,
}

/// Text that became certain: see [`TextDecoding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPiece {
    /// Number of the answer.
    pub row: usize,
    /// Never half a character, never a part of a stop string, never empty.
    pub text: String,
}

/// Answers as text while they are written: an iterator over pieces that are certain.
///
/// It may be left at any time; [`finish`](Self::finish) gives the answers so far. A row is cancelled by
/// [`stop`](Self::stop). The pieces of a row together are its answer's text.
///
/// ```
/// use burn::tensor::Device;
/// use vlm_core::Sequence;
/// use vlm_text::{CausalLmConfig, GenerationConfig, TextDecoding, Tokenizer, prefill};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama");
/// let tokenizer = Tokenizer::from_folder(path)?;
/// let device = Device::default();
/// let model = CausalLmConfig::new(384, 16, 32, 2, 4).init(&device);
/// let config = GenerationConfig::new(8);
/// let prefilled = prefill(&model, &[Sequence::text(&[1, 2])], None, &config, &device)?;
/// let mut decoding = TextDecoding::new(&model, &tokenizer, prefilled, &config)?;
/// let mut text = String::new();
/// for piece in decoding.by_ref() {
///     text += &piece?.text;
/// }
/// let (answers, _) = decoding.finish();
/// assert_eq!(answers[0].generated.tokens.len(), 8);
/// # Ok::<(), vlm_core::Error>(())
/// ```
pub struct TextDecoding<'a, M> {
    decoding: Decoding<'a, M>,
    tokenizer: &'a Tokenizer,
    stops: Vec<String>,
    // Absent once all text of the row is out.
    rows: Vec<Option<Row<'a>>>,
    ready: VecDeque<TextPiece>,
    failed: bool,
}

struct Row<'a> {
    stream: TextStream<'a>,
    filter: StopFilter,
}

impl<'a, M: VisionLanguageModel> TextDecoding<'a, M> {
    /// Begins answers to prompts that were [`prefill`](super::prefill)ed.
    ///
    /// # Errors
    ///
    /// As [`Decoding::new`].
    pub fn new(
        model: &'a M,
        tokenizer: &'a Tokenizer,
        prefilled: Prefilled,
        config: &GenerationConfig,
    ) -> Result<Self, Error> {
        let decoding = Decoding::new(model, prefilled, config)?;
        let row = |_| {
            Some(Row {
                stream: tokenizer.stream(),
                filter: StopFilter::new(config.stop_strings.clone()),
            })
        };
        Ok(Self {
            rows: (0..decoding.rows()).map(row).collect(),
            decoding,
            tokenizer,
            stops: config.stop_strings.clone(),
            ready: VecDeque::new(),
            failed: false,
        })
    }

    /// Ends a row after the tokens that it has; text that was held back comes out.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn stop(&mut self, row: usize) {
        self.decoding.stop(row);
        self.flush(row);
    }

    /// Why a row ended; `None` while it goes on.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn end(&self, row: usize) -> Option<EndReason> {
        self.decoding.end(row)
    }

    /// The answers so far, and the cache as [`Decoding::finish`] leaves it.
    pub fn finish(self) -> (Vec<Answer>, KvCache) {
        let (answers, cache) = self.decoding.finish();
        let answer = |generated| answer(self.tokenizer, &self.stops, generated);
        (answers.into_iter().map(answer).collect(), cache)
    }

    /// Writes one token of each row and takes over the text that became certain.
    fn step(&mut self) -> Result<bool, Error> {
        let Some(tokens) = self.decoding.step()? else {
            return Ok(false);
        };
        for token in tokens {
            let Some(Row { stream, filter }) = &mut self.rows[token.row] else {
                continue;
            };
            let text = filter.push(&stream.push(token.id));
            let stopped = filter.has_stopped();
            self.show(token.row, text);
            if stopped {
                self.decoding.set_end(token.row, EndReason::StopString);
            }
        }
        for row in 0..self.rows.len() {
            if self.decoding.end(row).is_some() {
                self.flush(row);
            }
        }
        Ok(true)
    }

    fn flush(&mut self, row: usize) {
        if let Some(Row { stream, mut filter }) = self.rows[row].take() {
            let text = filter.push(&stream.finish());
            if filter.has_stopped() {
                self.decoding.set_end(row, EndReason::StopString);
            }
            self.show(row, text + &filter.finish());
        }
    }

    fn show(&mut self, row: usize, text: String) {
        if !text.is_empty() {
            self.ready.push_back(TextPiece { row, text });
        }
    }
}

impl<M: VisionLanguageModel> Iterator for TextDecoding<'_, M> {
    type Item = Result<TextPiece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.failed {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

fn answer(tokenizer: &Tokenizer, stops: &[String], generated: Generated) -> Answer {
    let mut text = tokenizer.decode(&generated.tokens);
    if generated.end == EndReason::StopString {
        text = StopFilter::new(stops.to_vec()).push(&text);
    }
    Answer { text, generated }
}

/// Generates texts from prompts that were [`prefill`](super::prefill)ed, and shows each piece with the number
/// of its answer as soon as it is certain; an answer for which `on_text` breaks ends there. A beam search
/// shows its texts at the end.
///
/// ```
/// use std::ops::ControlFlow;
/// use burn::tensor::Device;
/// use vlm_core::Sequence;
/// use vlm_text::{CausalLmConfig, EndReason, GenerationConfig, Tokenizer, generate_text, prefill};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama");
/// let tokenizer = Tokenizer::from_folder(path)?;
/// let device = Device::default();
/// let model = CausalLmConfig::new(384, 16, 32, 2, 4).init(&device);
/// let config = GenerationConfig::new(8).with_stop_strings(["\n\n"]);
/// let prefilled = prefill(&model, &[Sequence::text(&[1, 2])], None, &config, &device)?;
/// let mut shown = String::new();
/// let answers = generate_text(&model, &tokenizer, prefilled, &config, |_row, text| {
///     shown += text; // print it, or break to end the answer
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(answers.len(), 1);
/// assert_ne!(answers[0].generated.end, EndReason::Stopped);
/// # Ok::<(), vlm_core::Error>(())
/// ```
///
/// # Errors
///
/// As [`generate_with`](super::generate_with); stop strings are welcome here.
pub fn generate_text(
    model: &impl VisionLanguageModel,
    tokenizer: &Tokenizer,
    prefilled: Prefilled,
    config: &GenerationConfig,
    mut on_text: impl FnMut(usize, &str) -> ControlFlow<()>,
) -> Result<Vec<Answer>, Error> {
    config.check()?;
    if config.beams.num_beams > 1 {
        let contains = |tokens: &[u32]| {
            let stops = &config.stop_strings;
            !stops.is_empty() && {
                let text = tokenizer.decode(tokens);
                stops.iter().any(|stop| text.contains(stop))
            }
        };
        let answers = beam_search(model, prefilled, config, contains)?;
        let answers = answers.into_iter().enumerate().map(|(row, generated)| {
            let mut answer = answer(tokenizer, &config.stop_strings, generated);
            if on_text(row, &answer.text).is_break() {
                answer.generated.end = EndReason::Stopped;
            }
            answer
        });
        return Ok(answers.collect());
    }
    let mut decoding = TextDecoding::new(model, tokenizer, prefilled, config)?;
    while let Some(piece) = decoding.next() {
        let TextPiece { row, text } = piece?;
        if on_text(row, &text).is_break() {
            decoding.stop(row);
        }
    }
    Ok(decoding.finish().0)
}
