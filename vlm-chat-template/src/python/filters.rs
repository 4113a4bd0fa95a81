//! Jinja filters that minijinja lacks or does otherwise.

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Rest, ValueKind, ValueOrKwargs},
};
use minijinja_contrib::{filters, globals};

use super::{
    Args,
    repr::str,
    string::{pad, strip},
    words::split_lines,
};
use crate::tojson::{indent_unit, tojson};

/// The filter that stands for `"…" % value`.
pub(crate) const PERCENT: &str = "__percent__";

pub(crate) fn add_filters(env: &mut Environment<'_>) {
    env.add_filter("tojson", tojson);
    env.add_filter("string", |state: &State, value: &Value| {
        match value.kind() {
            ValueKind::String => Ok(value.clone()),
            _ => str(state, value).map(Value::from),
        }
    });
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("trim", trim);
    env.add_filter("replace", replace);
    env.add_filter("indent", indent);
    env.add_filter("center", center);
    env.add_filter("truncate", truncate);
    env.add_filter(
        "wordcount",
        |state: &State, value: &Value| -> Result<usize, Error> {
            let text = str(state, value)?;
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            Ok(words.filter(|word| !word.is_empty()).count())
        },
    );
    env.add_filter("striptags", filters::striptags);
    env.add_filter("filesizeformat", filters::filesizeformat);
    env.add_filter(PERCENT, percent);
    env.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    env.add_function("joiner", globals::joiner);
}

/// jinja2's `int(value, default=0, base=10)`: what is no number becomes the default.
fn int(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(&args.into_values());
    let base = args.get(1, "base").map_or(Ok(10), u32::try_from)?;
    let number = match value.kind() {
        ValueKind::Undefined => return Err(undefined()),
        ValueKind::Number if value.is_integer() => return Ok(value.clone()),
        ValueKind::String => {
            let digits = value.as_str().unwrap_or_default().trim().replace('_', "");
            let parsed = (2..=36)
                .contains(&base)
                .then(|| i128::from_str_radix(&digits, base).ok());
            parsed.flatten().or_else(|| whole(digits.parse().ok()?))
        }
        ValueKind::Number => whole(f64::try_from(value.clone())?),
        ValueKind::Bool => Some(value.is_true().into()),
        _ => None,
    };
    Ok(number.map_or_else(|| args.get(0, "default").unwrap_or(0.into()), Value::from))
}

fn whole(number: f64) -> Option<i128> {
    number.is_finite().then_some(number as i128)
}

/// jinja2's `float(value, default=0.0)`.
fn float(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(&args.into_values());
    let number = match value.kind() {
        ValueKind::Undefined => return Err(undefined()),
        ValueKind::String => value.as_str().unwrap_or_default().trim().parse().ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        _ => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map_or_else(|| args.get(0, "default").unwrap_or(0.0.into()), Value::from))
}

fn undefined() -> Error {
    Error::new(ErrorKind::UndefinedError, "an undefined value is no number")
}

/// jinja2's `default(value, default_value="", boolean=False)`.
fn default(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(&args.into_values());
    let other = args.any(0, "default_value").unwrap_or_else(|| "".into());
    let boolean = args
        .get(1, "boolean")
        .is_some_and(|boolean| boolean.is_true());
    args.finish()?;
    Ok(if value.is_undefined() || (boolean && !value.is_true()) {
        other
    } else {
        value.clone()
    })
}

/// jinja2's `trim(value, chars=None)`.
fn trim(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(&args.into_values());
    let trimmed = strip(&str(state, value)?, &args, true, true);
    args.finish().and(trimmed)
}

/// jinja2's `replace(text, old, new, count=None)`.
fn replace(state: &mut State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(&args.into_values());
    let mut placed = vec![args.required(0, "old")?, args.required(1, "new")?];
    placed.extend(args.get(2, "count"));
    args.finish()?;
    let text = Value::from(str(state, value)?);
    text.call_method(state, "replace", &placed)
}

/// jinja2's `indent(text, width=4, first=False, blank=False)`.
fn indent(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = Args::new(&args.into_values());
    let unit = match args.get(0, "width") {
        None => "    ".to_owned(),
        Some(width) => indent_unit(state, &width)?,
    };
    let is_set = |place, name| args.get(place, name).is_some_and(|value| value.is_true());
    let (first, blank) = (is_set(1, "first"), is_set(2, "blank"));
    args.finish()?;
    let text = str(state, value)? + "\n";
    let mut indented = String::new();
    for (index, line) in split_lines(&text, false).into_iter().enumerate() {
        state.consume_fuel(1 + unit.len() as u64 / 64)?;
        indented.push_str(if index > 0 { "\n" } else { "" });
        let wanted = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        indented.push_str(if wanted { &unit } else { "" });
        indented.push_str(line);
    }
    Ok(indented)
}

/// jinja2's `center(text, width=80)`.
fn center(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(&args.into_values());
    let width = args.get(0, "width").unwrap_or(80.into());
    args.finish()?;
    pad(state, &str(state, value)?, "center", &Args::new(&[width]))
}

/// jinja2's `truncate(text, length=255, killwords=False, end="...", leeway=5)`.
fn truncate(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = Args::new(&args.into_values());
    let text = str(state, value)?;
    let length = args.get(0, "length").map_or(Ok(255), usize::try_from)?;
    let kill_words = args.get(1, "killwords").is_some_and(|kill| kill.is_true());
    let end = args.string(2, "end")?.unwrap_or_else(|| "...".into());
    let leeway = args.get(3, "leeway").map_or(Ok(5), usize::try_from)?;
    args.finish()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let kept: String = text
        .chars()
        .take(length.saturating_sub(end.chars().count()))
        .collect();
    let kept = if kill_words {
        &kept
    } else {
        kept.rsplit_once(' ').map_or(&*kept, |(kept, _)| kept)
    };
    Ok(format!("{kept}{end}"))
}

/// Python's `text % value`: the items of a tuple are the arguments, anything else is the only one.
fn percent(state: &mut State, text: &Value, value: &Value) -> Result<Value, Error> {
    let mut args = vec![text.clone()];
    match value.is_tuple() {
        true => args.extend(value.try_iter()?),
        false => args.push(value.clone()),
    }
    state.apply_filter("format", &args)
}
