use std::fmt::Debug;

use vlm_core::Error;

use super::Record;

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
}

/// One source after the other.
impl<S: RecordSource> RecordSource for Vec<S> {
    fn len(&self) -> usize {
        self.iter().map(RecordSource::len).sum()
    }

    fn record(&self, index: usize) -> Result<Record, Error> {
        let mut index = index;
        for source in self {
            match index < source.len() {
                true => return source.record(index),
                false => index -= source.len(),
            }
        }
        panic!("there is no record {index} past the last")
    }
}
