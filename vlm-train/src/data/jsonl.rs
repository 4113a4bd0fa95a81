//! A file with a JSON object in every line.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use vlm_core::Error;

use super::spans::{Span, Spans};

/// Finds the lines; empty ones are none.
pub(super) fn open(path: &Path, home: &Path, content: impl Read) -> Result<Spans, Error> {
    let mut content = BufReader::new(content);
    let (mut spans, mut line) = (Vec::new(), Vec::new());
    let (mut start, mut number) = (0, 0);
    loop {
        line.clear();
        let read = content
            .read_until(b'\n', &mut line)
            .map_err(Error::io(path))?;
        if read == 0 {
            break;
        }
        number += 1;
        if !line.trim_ascii().is_empty() {
            let end = start + line.trim_ascii_end().len() as u64;
            spans.push(Span { start, end, number });
        }
        start += read as u64;
    }
    match spans.is_empty() {
        true => Err(Error::file(path, "expected a record a line, found none")),
        false => Ok(Spans::new(path, home, spans, "line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::RecordSource;

    #[test]
    fn empty_lines_are_counted_and_are_no_records() {
        let spans = open(Path::new("x.jsonl"), Path::new(""), &b"\n{}\r\n  \n{ }"[..]).unwrap();
        assert_eq!(spans.len(), 2);
        let span = |start, end, number| Span { start, end, number };
        assert_eq!(spans.spans(), [span(1, 3, 2), span(8, 11, 4)]);
    }

    #[test]
    fn a_file_without_a_line_is_refused() {
        let error = open(Path::new("x.jsonl"), Path::new(""), &b" \n"[..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.jsonl: expected a record a line, found none"
        );
    }
}
