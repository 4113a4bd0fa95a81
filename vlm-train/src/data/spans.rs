//! Records as stretches of a JSON file.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use vlm_core::Error;

use super::{
    Place, Record, RecordSource,
    form::{self, Object},
};

/// A JSON file of which only the places of its records are held in memory.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    path: Arc<Path>,
    // Where its pictures are.
    home: PathBuf,
    spans: Vec<Span>,
    unit: &'static str,
}

/// Bytes from `start` to `end`, called `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) number: usize,
}

impl Spans {
    /// The records at `spans` of a file, each called a `unit`.
    pub(super) fn new(path: &Path, home: &Path, spans: Vec<Span>, unit: &'static str) -> Self {
        Self {
            path: path.into(),
            home: home.into(),
            spans,
            unit,
        }
    }

    #[cfg(test)]
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    fn read(&self, span: Span) -> std::io::Result<Vec<u8>> {
        // A handle of its own: records are read on several threads at once.
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(span.start))?;
        let mut bytes = vec![0; (span.end - span.start) as usize];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl RecordSource for Spans {
    fn len(&self) -> usize {
        self.spans.len()
    }

    fn record(&self, index: usize) -> Result<Record, Error> {
        let span = self.spans[index];
        let place = Place {
            path: self.path.clone(),
            unit: self.unit,
            number: span.number,
        };
        let bytes = self.read(span).map_err(Error::io(&self.path))?;
        let object = object(&bytes).map_err(|message| place.error(message))?;
        form::record(object, &self.home, place)
    }
}

fn object(json: &[u8]) -> Result<Object, String> {
    match serde_json::from_slice(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => {
            // serde_json counts from where the record begins.
            let (line, column) = (error.line(), error.column());
            let message = error.to_string();
            let message = message.trim_end_matches(&format!(" at line {line} column {column}"));
            Err(match line {
                0 | 1 => format!("broken JSON: {message} (column {column})"),
                _ => format!("broken JSON: {message} (its line {line}, column {column})"),
            })
        }
    }
}
