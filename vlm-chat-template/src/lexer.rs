//! Where a Jinja source has text, tags and string literals, by jinja2's rules.

use std::ops::Range;

/// What a [`Piece`] of a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text outside of tags, and the body of a raw block.
    Text,
    /// A comment.
    Comment,
    /// The tag that opens a raw block.
    RawOpen,
    /// The tag that closes a raw block.
    RawClose,
    /// `{{ … }}`
    Expression,
    /// `{% … %}`; the name's place, and whether nothing follows the name.
    Statement { name: Range<usize>, bare: bool },
}

/// A stretch of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub kind: Kind,
    pub range: Range<usize>,
    /// String literals inside of a tag, with their quotes.
    pub strings: Vec<Range<usize>>,
    /// Names inside of a tag that can be variables: not those of attributes and filters.
    pub names: Vec<Range<usize>>,
}

/// Splits a source into pieces that together cover it. What a syntax error makes unreadable is
/// returned as text: the engine will find the error again and report it.
pub(crate) fn pieces(source: &str) -> Vec<Piece> {
    let mut lexer = Lexer {
        source,
        pieces: Vec::new(),
        at: 0,
    };
    lexer.run();
    lexer.pieces
}

struct Lexer<'s> {
    source: &'s str,
    pieces: Vec<Piece>,
    at: usize,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(open) = self.next_open(self.at) {
            self.push(Kind::Text, open);
            let done = match self.source.as_bytes()[open + 1] {
                b'#' => self.comment(),
                b'{' => self.tag(false),
                _ => self.raw_block().unwrap_or_else(|| self.tag(true)),
            };
            if !done {
                break;
            }
        }
        self.push(Kind::Text, self.source.len());
    }

    fn next_open(&self, from: usize) -> Option<usize> {
        let bytes = self.source.as_bytes();
        (from..bytes.len().saturating_sub(1))
            .find(|&i| bytes[i] == b'{' && matches!(bytes[i + 1], b'{' | b'%' | b'#'))
    }

    fn push(&mut self, kind: Kind, end: usize) {
        if end > self.at {
            let (strings, names) = Default::default();
            self.pieces.push(Piece {
                kind,
                range: self.at..end,
                strings,
                names,
            });
            self.at = end;
        }
    }

    fn comment(&mut self) -> bool {
        match self.source[self.at + 2..].find("#}") {
            Some(len) => self.push(Kind::Comment, self.at + 2 + len + 2),
            None => return false,
        }
        true
    }

    /// `None` when there is no raw block here, `Some(false)` when it is not closed.
    fn raw_block(&mut self) -> Option<bool> {
        let body = bare_tag(self.source, self.at, "raw")?;
        let close = self.source[body..]
            .match_indices("{%")
            .find_map(|(i, _)| Some((body + i, bare_tag(self.source, body + i, "endraw")?)));
        let Some((close, end)) = close else {
            return Some(false);
        };
        self.push(Kind::RawOpen, body);
        self.push(Kind::Text, close);
        self.push(Kind::RawClose, end);
        Some(true)
    }

    fn tag(&mut self, statement: bool) -> bool {
        let bytes = self.source.as_bytes();
        let end = if statement { b"%}" } else { b"}}" };
        let mut at = self.at + 2;
        at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
        let (mut strings, mut names) = (Vec::new(), Vec::new());
        let mut depth = 0usize;
        let mut name: Option<Range<usize>> = None;
        let mut bare = true;
        let mut last = b' ';
        while let Some(&byte) = bytes.get(at) {
            let sign = usize::from(matches!(byte, b'-' | b'+'));
            if depth == 0 && bytes.get(at + sign..at + sign + 2) == Some(end) {
                let kind = match name {
                    _ if !statement => Kind::Expression,
                    name => Kind::Statement {
                        name: name.unwrap_or(at..at),
                        bare,
                    },
                };
                let range = self.at..at + sign + 2;
                self.at = range.end;
                self.pieces.push(Piece {
                    kind,
                    range,
                    strings,
                    names,
                });
                return true;
            }
            let start = at;
            match byte {
                b'\'' | b'"' => {
                    let Some(end) = string_end(bytes, at) else {
                        return false;
                    };
                    at = end;
                    strings.push(start..at);
                    (bare, last) = (false, byte);
                    continue;
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    while bytes
                        .get(at)
                        .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
                    {
                        at += 1;
                    }
                    if !matches!(last, b'.' | b'|') {
                        names.push(start..at);
                    }
                    (bare, last) = (bare && name.is_none(), byte);
                    name.get_or_insert(start..at);
                    continue;
                }
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                (bare, last) = (false, byte);
            }
            at += 1;
        }
        false
    }
}

/// The end of a tag at `at` that holds only `name`, such as `{%- endraw %}`.
fn bare_tag(source: &str, at: usize, name: &str) -> Option<usize> {
    let inside = source[at..].strip_prefix("{%")?;
    let inside = inside
        .strip_prefix(['-', '+'])
        .unwrap_or(inside)
        .trim_start();
    let rest = inside.strip_prefix(name)?.trim_start();
    let rest = rest
        .strip_prefix(['-', '+'])
        .unwrap_or(rest)
        .strip_prefix("%}")?;
    Some(source.len() - rest.len())
}

/// The end of the operand that begins at `at` inside of a tag: a sign, a name, number, string or
/// bracket, and the attributes, items, calls and filters after it.
pub(crate) fn operand_end(tag: &str, at: usize) -> Option<usize> {
    let bytes = tag.as_bytes();
    let skip_space = |at: usize| at + (tag[at..].len() - tag[at..].trim_start().len());
    let word_end = |at: usize| {
        at + tag[at..]
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count()
    };
    let mut at = skip_space(at);
    while matches!(bytes.get(at), Some(b'-' | b'+')) {
        at = skip_space(at + 1);
    }
    let mut end = match bytes.get(at)? {
        b'\'' | b'"' => string_end(bytes, at)?,
        b'(' | b'[' | b'{' => bracket_end(bytes, at)?,
        _ => word_end(at),
    };
    if end == at {
        return None;
    }
    loop {
        let next = skip_space(end);
        end = match bytes.get(next) {
            Some(b'(' | b'[') => bracket_end(bytes, next)?,
            Some(b'.' | b'|') => word_end(skip_space(next + 1)),
            Some(b'\'' | b'"') => string_end(bytes, next)?,
            _ => return Some(end),
        };
    }
}

/// The end of the string literal that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = bytes[at];
    let mut end = at + 1;
    while *bytes.get(end)? != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some(end + 1)
}

/// The end of the bracketed expression that begins at `at`.
pub(crate) fn bracket_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0;
    loop {
        match *bytes.get(at)? {
            b'\'' | b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(&str, &str)> {
        let pieces = pieces(source);
        assert_eq!(
            pieces
                .iter()
                .map(|p| &source[p.range.clone()])
                .collect::<String>(),
            source
        );
        let show = |piece: &Piece| match &piece.kind {
            Kind::Text => "text",
            Kind::Comment => "comment",
            Kind::RawOpen | Kind::RawClose => "raw",
            Kind::Expression => "expression",
            Kind::Statement { bare: true, .. } => "bare",
            Kind::Statement { .. } => "statement",
        };
        pieces
            .iter()
            .map(|p| (show(p), &source[p.range.clone()]))
            .collect()
    }

    #[test]
    fn tags_end_outside_of_strings_and_brackets() {
        assert_eq!(
            kinds("a{{ {'}}': {}} ~ '%}\\'}}' }}b{%- if '%}' -%}c"),
            [
                ("text", "a"),
                ("expression", "{{ {'}}': {}} ~ '%}\\'}}' }}"),
                ("text", "b"),
                ("statement", "{%- if '%}' -%}"),
                ("text", "c"),
            ]
        );
    }

    #[test]
    fn comments_and_raw_blocks_hide_tags() {
        assert_eq!(
            kinds(
                "{# {% generation %} #}{% raw %}{% generation %}{%- endraw -%}{%- generation +%}"
            ),
            [
                ("comment", "{# {% generation %} #}"),
                ("raw", "{% raw %}"),
                ("text", "{% generation %}"),
                ("raw", "{%- endraw -%}"),
                ("bare", "{%- generation +%}"),
            ]
        );
    }

    #[test]
    fn unfinished_tags_are_text() {
        for source in [
            "{{ 'a",
            "{% if",
            "{# a",
            "{% raw %}{{",
            "{",
            "a{{",
            "{{ '\\",
            "é{% 'é",
        ] {
            assert!(
                kinds(source).iter().all(|(kind, _)| *kind == "text"),
                "{source}"
            );
        }
    }
}
