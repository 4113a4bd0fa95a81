//! Methods of Python's `str`, `list` and `dict` that minijinja-contrib lacks or does otherwise.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Tuple, ValueKind},
};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::Args;
use super::words::{is_space, rsplit_words, split_lines, split_words, title};

/// Calls a method that the value does not have by itself.
pub(crate) fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let args_of = Args::new(args);
    let own = match value.kind() {
        ValueKind::String => {
            string_method(state, value.as_str().unwrap_or_default(), method, &args_of)?
        }
        ValueKind::Seq | ValueKind::Map if method == "copy" => Some(value.clone()),
        ValueKind::Seq if method == "index" => {
            let wanted = args_of.required(0, "value")?;
            let place = value.try_iter()?.position(|item| item == wanted);
            Some(Value::from(place.ok_or_else(|| {
                invalid(format!("{wanted} is not in list"))
            })?))
        }
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, args),
    }
}

fn string_method(
    state: &State,
    text: &str,
    method: &str,
    args: &Args,
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" => strip(text, args, true, true)?,
        "lstrip" => strip(text, args, true, false)?,
        "rstrip" => strip(text, args, false, true)?,
        "split" | "rsplit" => split(text, method == "rsplit", args)?,
        "splitlines" => {
            let keep = args.get(0, "keepends").is_some_and(|keep| keep.is_true());
            split_lines(text, keep)
                .into_iter()
                .map(Value::from)
                .collect()
        }
        "partition" | "rpartition" => partition(text, method == "rpartition", args)?,
        "removeprefix" => {
            let prefix = args.required_string(0, "prefix")?;
            Value::from(text.strip_prefix(&*prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let suffix = args.required_string(0, "suffix")?;
            Value::from(text.strip_suffix(&*suffix).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" => find(text, method, args)?,
        "center" | "ljust" | "rjust" | "zfill" => pad(state, text, method, args)?,
        "title" => Value::from(title(text)),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "swapcase" => text.chars().map(swap_case).collect::<String>().into(),
        "isspace" => Value::from(!text.is_empty() && text.chars().all(is_space)),
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "count" if args.len() == 1 && args.required_string(0, "sub")?.is_empty() => {
            Value::from(text.chars().count() + 1)
        }
        _ => return Ok(None),
    }))
}

pub(super) fn strip(text: &str, args: &Args, start: bool, end: bool) -> Result<Value, Error> {
    let set = args.string(0, "chars")?;
    let drop = |c: char| {
        set.as_deref()
            .map_or_else(|| is_space(c), |set| set.contains(c))
    };
    let text = if start {
        text.trim_start_matches(drop)
    } else {
        text
    };
    Ok(Value::from(if end {
        text.trim_end_matches(drop)
    } else {
        text
    }))
}

fn split(text: &str, from_right: bool, args: &Args) -> Result<Value, Error> {
    let max = match args.get(1, "maxsplit") {
        Some(max) => usize::try_from(i64::try_from(max)?).unwrap_or(usize::MAX - 1),
        None => usize::MAX - 1,
    };
    let pieces = match args.string(0, "sep")? {
        Some(sep) if sep.is_empty() => return Err(invalid("empty separator")),
        Some(sep) if from_right => {
            let mut pieces: Vec<&str> = text.rsplitn(max + 1, &*sep).collect();
            pieces.reverse();
            return Ok(pieces.into_iter().map(Value::from).collect());
        }
        Some(sep) => return Ok(text.splitn(max + 1, &*sep).map(Value::from).collect()),
        None if from_right => rsplit_words(text, max),
        None => split_words(text, max),
    };
    Ok(pieces.into_iter().map(Value::from).collect())
}

fn partition(text: &str, from_right: bool, args: &Args) -> Result<Value, Error> {
    let sep = args.required_string(0, "sep")?;
    if sep.is_empty() {
        return Err(invalid("empty separator"));
    }
    let at = if from_right {
        text.rfind(&*sep)
    } else {
        text.find(&*sep)
    };
    let parts = match at {
        Some(at) => [&text[..at], &*sep, &text[at + sep.len()..]],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn find(text: &str, method: &str, args: &Args) -> Result<Value, Error> {
    let wanted = args.required_string(0, "sub")?;
    let length = text.chars().count() as i64;
    let bound = |index, missing: i64| -> Result<i64, Error> {
        let bound = args
            .get(index, "")
            .map(i64::try_from)
            .transpose()?
            .unwrap_or(missing);
        Ok(if bound < 0 {
            (bound + length).max(0)
        } else {
            bound.min(length)
        })
    };
    let (start, end) = (bound(1, 0)?, bound(2, length)?);
    let byte = |place: i64| {
        text.char_indices()
            .nth(place as usize)
            .map_or(text.len(), |(at, _)| at)
    };
    let found = text.get(byte(start)..byte(end)).and_then(|window| {
        let at = if method.starts_with('r') {
            window.rfind(&*wanted)
        } else {
            window.find(&*wanted)
        }?;
        Some(start + window[..at].chars().count() as i64)
    });
    match found {
        Some(place) => Ok(Value::from(place)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid("substring not found")),
    }
}

pub(super) fn pad(state: &State, text: &str, method: &str, args: &Args) -> Result<Value, Error> {
    let width = i64::try_from(args.required(0, "width")?)?.max(0) as usize;
    state.consume_fuel(width as u64 / 16)?;
    let fill = match args.string(1, "fillchar")? {
        _ if method == "zfill" => "0".into(),
        Some(fill) if fill.chars().count() == 1 => fill,
        Some(_) => {
            return Err(invalid(
                "The fill character must be exactly one character long",
            ));
        }
        None => " ".into(),
    };
    let missing = width.saturating_sub(text.chars().count());
    let (sign, text) = match text.strip_prefix(['+', '-']) {
        Some(digits) if method == "zfill" => text.split_at(text.len() - digits.len()),
        _ => ("", text),
    };
    let left = match method {
        "ljust" => 0,
        // CPython's rounding.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    Ok(Value::from(format!(
        "{sign}{}{text}{}",
        fill.repeat(left),
        fill.repeat(missing - left)
    )))
}

fn swap_case(c: char) -> String {
    if c.is_lowercase() {
        c.to_uppercase().collect()
    } else {
        c.to_lowercase().collect()
    }
}

pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
