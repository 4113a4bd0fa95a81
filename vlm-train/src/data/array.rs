//! A file with one JSON list of objects, as LLaVA's sets are.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use vlm_core::Error;

use super::spans::{Span, Spans};

/// Finds the entries by their brackets and quotes, without making anything of them.
pub(super) fn open(path: &Path, home: &Path, content: impl Read) -> Result<Spans, Error> {
    let mut spans: Vec<Span> = Vec::new();
    let mut scan = Scan::default();
    let mut content = BufReader::with_capacity(1 << 16, content);
    let mut at = 0;
    loop {
        let bytes = content.fill_buf().map_err(Error::io(path))?;
        let read = bytes.len();
        if read == 0 {
            break;
        }
        for byte in bytes {
            match scan.step(*byte) {
                Step::Begins => spans.push(Span {
                    start: at,
                    end: at + 1,
                    number: spans.len() + 1,
                }),
                Step::Goes => spans.iter_mut().last().expect("an entry began").end = at + 1,
                Step::Between => {}
                Step::Wrong => {
                    let found = char::from(*byte);
                    let message = format!("expected one JSON list, found `{found}` at byte {at}");
                    return Err(Error::file(path, message));
                }
            }
            at += 1;
        }
        content.consume(read);
    }
    if !scan.over {
        let message = "expected a list: its closing `]` is missing";
        return Err(Error::file(path, message));
    }
    match spans.is_empty() {
        true => Err(Error::file(
            path,
            "expected a list of records, found none in it",
        )),
        false => Ok(Spans::new(path, home, spans, "entry")),
    }
}

/// Where in the JSON text one is.
#[derive(Default)]
struct Scan {
    // Brackets that are open, the list's own included.
    depth: usize,
    quoted: bool,
    escaped: bool,
    // An entry has begun and its comma has not come.
    inside: bool,
    over: bool,
}

/// What a byte is to the entries.
enum Step {
    Begins,
    Goes,
    Between,
    Wrong,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Step {
        if self.quoted {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
            return Step::Goes;
        }
        if byte.is_ascii_whitespace() {
            return Step::Between;
        }
        match byte {
            _ if self.over => return Step::Wrong,
            _ if self.depth == 0 => {
                self.depth = 1;
                return match byte {
                    b'[' => Step::Between,
                    _ => Step::Wrong,
                };
            }
            b',' if self.depth == 1 => {
                self.inside = false;
                return Step::Between;
            }
            b']' if self.depth == 1 => {
                self.over = true;
                return Step::Between;
            }
            b'}' if self.depth == 1 => return Step::Wrong,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth -= 1,
            b'"' => self.quoted = true,
            _ => {}
        }
        match std::mem::replace(&mut self.inside, true) {
            true => Step::Goes,
            false => Step::Begins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(json: &str) -> Result<Vec<&str>, String> {
        let spans =
            open(Path::new("x.json"), Path::new(""), json.as_bytes()).map_err(|e| e.to_string())?;
        let text = |span: &Span| &json[span.start as usize..span.end as usize];
        Ok(spans.spans().iter().map(text).collect())
    }

    #[test]
    fn entries_are_told_apart_by_brackets_outside_of_strings() {
        let json = " [ {\"a\": [1, 2]} ,\n{\"b\": \"]},\\\"{\"},3 ]\n";
        assert_eq!(
            entries(json).unwrap(),
            ["{\"a\": [1, 2]}", "{\"b\": \"]},\\\"{\"}", "3"]
        );
        let whole = open(Path::new("x.json"), Path::new(""), json.as_bytes()).unwrap();
        for middle in 0..json.len() {
            let (first, second) = json.as_bytes().split_at(middle);
            let halves = open(Path::new("x.json"), Path::new(""), first.chain(second)).unwrap();
            assert_eq!(halves.spans(), whole.spans());
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (json, message) in [
            ("[]", "x.json: expected a list of records, found none in it"),
            ("[{}", "x.json: expected a list: its closing `]` is missing"),
            (
                "[{\"a",
                "x.json: expected a list: its closing `]` is missing",
            ),
            (
                "[{}] {}",
                "x.json: expected one JSON list, found `{` at byte 5",
            ),
            (
                "[{}}]",
                "x.json: expected one JSON list, found `}` at byte 3",
            ),
            ("{}", "x.json: expected one JSON list, found `{` at byte 0"),
        ] {
            assert_eq!(entries(json).unwrap_err(), message);
        }
    }
}
