//! Python's notions of white space, words and lines.

/// `str.isspace` of one character: Unicode's white space and four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.split(None, max)`.
pub(super) fn split_words(text: &str, max: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        match rest.find(is_space) {
            Some(end) if words.len() < max => {
                words.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            _ => {
                words.push(rest);
                rest = "";
            }
        }
    }
    words
}

/// `str.rsplit(None, max)`.
pub(super) fn rsplit_words(text: &str, max: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let space = rest.char_indices().rev().find(|(_, c)| is_space(*c));
        match space {
            Some((at, c)) if words.len() < max => {
                words.push(&rest[at + c.len_utf8()..]);
                rest = rest[..at].trim_end_matches(is_space);
            }
            _ => {
                words.push(rest);
                rest = "";
            }
        }
    }
    words.reverse();
    words
}

/// `str.splitlines(keepends)`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(is_end) {
        let next = end
            + if rest[end..].starts_with("\r\n") {
                2
            } else {
                rest[end..].chars().next().map_or(0, char::len_utf8)
            };
        lines.push(&rest[..if keep_ends { next } else { end }]);
        rest = &rest[next..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `str.title`: each run of letters begins with a capital.
pub(super) fn title(text: &str) -> String {
    let mut inside = false;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        match inside {
            true => titled.extend(c.to_lowercase()),
            false => titled.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    titled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(split_words(" a b  c ", usize::MAX), ["a", "b", "c"]);
        assert_eq!(split_words(" a b  c ", 1), ["a", "b  c "]);
        assert_eq!(split_words(" a b ", 0), ["a b "]);
        assert_eq!(rsplit_words(" a b  c ", 1), [" a b", "c"]);
        assert_eq!(rsplit_words(" a b  c ", usize::MAX), ["a", "b", "c"]);
        assert!(split_words(" \x1c", 9).is_empty());
    }

    #[test]
    fn lines() {
        assert_eq!(split_lines("a\r\nb\n\nc", false), ["a", "b", "", "c"]);
        assert_eq!(split_lines("a\r\nb\u{2028}", true), ["a\r\n", "b\u{2028}"]);
    }

    #[test]
    fn titles() {
        assert_eq!(title("they're 2nd-bEST"), "They'Re 2Nd-Best");
    }
}
