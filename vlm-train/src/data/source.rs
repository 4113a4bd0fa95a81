use std::fmt::Debug;

use vlm_core::Error;

use super::{Hints, Record};

/// Numbered records, read when they are asked for.
pub trait RecordSource: Debug + Send + Sync {
    /// Number of records.
    fn len(&self) -> usize;

    /// Reads a record. Its pictures are not decoded.
    ///
    /// # Errors
    ///
    /// Names the file and the record's place in it, when it cannot be read or is no record.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    fn record(&self, index: usize) -> Result<Record, Error>;

    /// Pictures and words of a record; none of a broken one.
    fn hints(&self, index: usize) -> Hints {
        let record = self.record(index);
        record.map(|record| record.hints()).unwrap_or_default()
    }

    /// Whether there is no record.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S: RecordSource + ?Sized> RecordSource for Box<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn record(&self, index: usize) -> Result<Record, Error> {
        (**self).record(index)
    }

    fn hints(&self, index: usize) -> Hints {
        (**self).hints(index)
    }
}

/// One source after the other.
impl<S: RecordSource> RecordSource for Vec<S> {
    fn len(&self) -> usize {
        self.iter().map(RecordSource::len).sum()
    }

    fn record(&self, index: usize) -> Result<Record, Error> {
        let (source, index) = within(self, index);
        source.record(index)
    }

    fn hints(&self, index: usize) -> Hints {
        let (source, index) = within(self, index);
        source.hints(index)
    }
}

fn within<S: RecordSource>(sources: &[S], mut index: usize) -> (&S, usize) {
    for source in sources {
        match index.checked_sub(source.len()) {
            None => return (source, index),
            Some(rest) => index = rest,
        }
    }
    panic!("there is no such record: {index} past the last")
}
