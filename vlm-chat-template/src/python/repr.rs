//! Values as text: Python's `str` and `repr`.

use minijinja::{Error, ErrorKind, State, Value, value::ValueKind};

use super::float;
use crate::limits::MAX_DEPTH;

/// What Python's `str` makes of a value, and what `{{ value }}` prints.
pub(crate) fn str(state: &State, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Undefined => Ok(value.to_string()),
        _ => repr(state, value),
    }
}

/// What Python's `repr` makes of a value.
fn repr(state: &State, value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(state, &mut out, value, 0)?;
    Ok(out)
}

fn write(state: &State, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    // A value that holds another twice, and so on, is written far longer than it is stored.
    state.consume_fuel(1)?;
    if depth > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "value is nested too deeply to be printed",
        ));
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Number if !value.is_integer() => {
            out.push_str(&float(f64::try_from(value.clone())?))
        }
        ValueKind::String => write_string(state, out, value.as_str().unwrap_or_default())?,
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() {
                ("(", ")")
            } else {
                ("[", "]")
            };
            out.push_str(open);
            let mut count = 0;
            for item in value.try_iter()? {
                out.push_str(if count > 0 { ", " } else { "" });
                write(state, out, &item, depth + 1)?;
                count += 1;
            }
            out.push_str(if value.is_tuple() && count == 1 {
                ","
            } else {
                ""
            });
            out.push_str(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (count, key) in value.try_iter()?.enumerate() {
                out.push_str(if count > 0 { ", " } else { "" });
                write(state, out, &key, depth + 1)?;
                out.push_str(": ");
                write(state, out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn write_string(state: &State, out: &mut String, text: &str) -> Result<(), Error> {
    state.consume_fuel(text.len() as u64 / 64)?;
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&match c as u32 {
                code @ 0..=0xff => format!("\\x{code:02x}"),
                code @ 0..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
    Ok(())
}

/// Python's `str.isprintable`. Rust's debug form escapes the same categories, and a combining
/// character only at the start of a string.
fn is_printable(c: char) -> bool {
    c == ' '
        || c.is_ascii_graphic()
        || (!c.is_ascii() && !format!("a{c}").escape_debug().any(|c| c == '{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_characters_follow_python() {
        for (c, printable) in [
            ('a', true),
            ('é', true),
            ('東', true),
            ('😀', true),
            ('\u{301}', true),
            ('\u{a0}', false),
            ('\u{200d}', false),
            ('\u{2028}', false),
            ('\u{7f}', false),
            ('\u{e000}', false),
            ('\u{ad}', false),
        ] {
            assert_eq!(is_printable(c), printable, "{c:?}");
        }
    }
}
