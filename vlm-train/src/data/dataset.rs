use vlm_core::Error;

use super::{Hints, Record, RecordSource};
use crate::Sample;

/// Numbered samples, made when they are asked for.
///
/// A [`Loader`](super::Loader) calls [`sample`](Self::sample) on several threads at once.
pub trait Dataset: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Makes a sample; `None` where it is left out by choice.
    ///
    /// # Errors
    ///
    /// When it cannot be made; the message says where it stands.
    fn sample(&self, index: usize) -> Result<Option<Sample>, Error>;

    /// What is known of a sample without making it. A broken one is short and has no picture.
    fn hints(&self, index: usize) -> Hints;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which positions are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// Every position of text. Positions under a picture are not text; tokens that a family writes around and
    /// between them (`<row_1_col_1>`) are. (TRL's collator masks padding alone, so that a model learns to say its own
    /// image placeholders, too.)
    #[default]
    All,
    /// What the assistant says; of a prompt and its completion, the completion.
    Assistant,
}

/// Turns records into samples: the part that knows a model's tokenizer, template and pictures.
///
/// ```text
/// user: <image> What is it?            ids     1 369 380 380 372 322  274 370 310 364   2
/// assistant: A cup           ->        labels  –   –   –   –   –   –    –   – 310 364   –   (Assistant)
/// ```
pub trait Prepare: Send + Sync {
    /// Makes a sample of a record, in full length.
    ///
    /// # Errors
    ///
    /// When a picture cannot be read, the template refuses the conversation, or placeholders and pictures do not
    /// match. The caller adds where the record stands.
    fn prepare(&self, record: &Record, labels: Labels) -> Result<Sample, Error>;
}

impl<P: Prepare + ?Sized> Prepare for std::sync::Arc<P> {
    fn prepare(&self, record: &Record, labels: Labels) -> Result<Sample, Error> {
        (**self).prepare(record, labels)
    }
}

/// What happens to a sample that is too long, where cutting its end off would cut a picture or leave nothing to
/// learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooLong {
    /// It is an error.
    #[default]
    Fail,
    /// It is left out.
    Drop,
}

/// The samples of some records.
#[derive(Clone, Debug)]
pub struct Samples<S, P> {
    /// Where the records are.
    pub records: S,
    /// What makes samples of them.
    pub prepare: P,
    /// Which positions are learned.
    pub labels: Labels,
    /// Positions of a sample at most; the end of a longer one is cut off. None cuts nothing.
    pub max_length: Option<usize>,
    /// What happens where that cannot be.
    pub too_long: TooLong,
}

impl<S: RecordSource, P: Prepare> Samples<S, P> {
    /// Samples of which every position of text is learned, in full length.
    pub fn new(records: S, prepare: P) -> Self {
        Self {
            records,
            prepare,
            labels: Labels::default(),
            max_length: None,
            too_long: TooLong::default(),
        }
    }

    fn cut(&self, mut sample: Sample) -> Result<Option<Sample>, Error> {
        if sample.tokens() == 0 {
            let message = match self.labels {
                Labels::All => "there is nothing to learn: expected two positions of text or more",
                Labels::Assistant => "there is nothing to learn: the assistant says nothing",
            };
            return Err(Error::Request(message.to_owned()));
        }
        let Some(max_length) = self.max_length else {
            return Ok(Some(sample));
        };
        let needed = sample.sequence.len();
        let cut = sample.truncate(max_length).and_then(|()| {
            let hint = "nothing to learn is left of the sample; raise the maximum length, or drop such samples";
            match sample.tokens() {
                0 => Err(Error::TooLong { needed, allowed: max_length, hint }),
                _ => Ok(()),
            }
        });
        match (cut, self.too_long) {
            (Ok(()), _) => Ok(Some(sample)),
            (Err(Error::TooLong { .. }), TooLong::Drop) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }
}

impl<S: RecordSource, P: Prepare> Dataset for Samples<S, P> {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn sample(&self, index: usize) -> Result<Option<Sample>, Error> {
        let record = self.records.record(index)?;
        let sample = self.prepare.prepare(&record, self.labels);
        let sample = sample.and_then(|sample| self.cut(sample));
        sample.map_err(|error| record.place.error(error))
    }

    fn hints(&self, index: usize) -> Hints {
        self.records.hints(index)
    }
}
