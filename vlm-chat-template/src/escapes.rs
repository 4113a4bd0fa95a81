//! Escapes in string literals: Python's, and those that minijinja reads the same way.

/// Whether minijinja would read the escapes of a literal otherwise than Python does.
pub(crate) fn needs_spelling_out(literal: &str) -> bool {
    let mut chars = literal.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && matches!(chars.next(), Some('/' | 'U' | 'a' | 'v' | '\n' | '0'..='7')) {
            return true;
        }
    }
    false
}

/// The text of a Python string literal, given without its quotes. As in Python, an unknown escape
/// stands for itself; so does a broken one, which Python refuses.
pub(crate) fn unescape(literal: &str) -> String {
    let mut text = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { break };
        let numbered = |skip: usize, digits: usize, radix| {
            let number = rest.get(skip..skip + digits)?;
            let number = number
                .chars()
                .all(|c| c.is_digit(radix))
                .then_some(number)?;
            Some((
                skip + digits,
                char::from_u32(u32::from_str_radix(number, radix).ok()?)?,
            ))
        };
        let octal = rest
            .bytes()
            .take(3)
            .take_while(|b| (b'0'..=b'7').contains(b))
            .count();
        let (len, decoded) = match c {
            '\n' => (1, None),
            '\\' | '\'' | '"' => (1, Some(c)),
            'n' => (1, Some('\n')),
            'r' => (1, Some('\r')),
            't' => (1, Some('\t')),
            'a' => (1, Some('\x07')),
            'b' => (1, Some('\x08')),
            'f' => (1, Some('\x0c')),
            'v' => (1, Some('\x0b')),
            'x' | 'u' | 'U' | '0'..='7' => {
                let number = match c {
                    'x' => numbered(1, 2, 16),
                    'u' => numbered(1, 4, 16),
                    'U' => numbered(1, 8, 16),
                    _ => numbered(0, octal, 8),
                };
                match number {
                    Some((len, decoded)) => (len, Some(decoded)),
                    None => (0, Some('\\')),
                }
            }
            _ => (0, Some('\\')),
        };
        text.extend(decoded);
        rest = &rest[len..];
    }
    text + rest
}

/// The literal of a text without its quotes, with escapes that minijinja reads as Python does.
pub(crate) fn escape(text: &str, original: &str) -> String {
    let mut literal = String::with_capacity(original.len());
    for c in text.chars() {
        match c {
            '\\' | '"' | '\'' => literal.extend(['\\', c]),
            '\n' => literal.push_str("\\n"),
            c => literal.push(c),
        }
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_follow_python() {
        for (literal, text) in [
            (r"a\nb\t\\n", "a\nb\t\\n"),
            (
                r"\/\d\U0001F600\x41\u00e9\101",
                "\\/\\d😀Aé A".replace(' ', "").as_str(),
            ),
            ("a\\\nb", "ab"),
            (r"\U1\x4\8", r"\U1\x4\8"),
        ] {
            assert_eq!(unescape(literal), text, "{literal}");
        }
        for (literal, ours) in [(r#"\/"\'"#, r#"\\/\"\'"#), ("\\v\n", "\x0b\\n")] {
            assert!(needs_spelling_out(literal), "{literal}");
            assert_eq!(escape(&unescape(literal), literal), ours);
        }
        assert!(!needs_spelling_out(r"\n\\/"));
    }
}
