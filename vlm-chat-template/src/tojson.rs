//! The `tojson` filter: Python's `json.dumps`.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Rest, ValueKind, ValueOrKwargs},
};

use crate::{
    limits::MAX_DEPTH,
    python::{Args, float},
};

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`, with
/// the arguments by place or by name.
pub(crate) fn tojson(
    state: &State,
    value: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let args = Args::new(&args.into_values());
    let indent = args
        .get(1, "indent")
        .map(|indent| indent_unit(state, &indent))
        .transpose()?;
    let (item, key) = match args.get(2, "separators") {
        Some(pair) => (
            pair.get_item_by_index(0)?.to_string(),
            pair.get_item_by_index(1)?.to_string(),
        ),
        None => (
            if indent.is_some() { "," } else { ", " }.into(),
            ": ".into(),
        ),
    };
    let is_set = |place, name| args.get(place, name).is_some_and(|value| value.is_true());
    let mut json = Json {
        state,
        ensure_ascii: is_set(0, "ensure_ascii"),
        sort_keys: is_set(3, "sort_keys"),
        indent,
        item,
        key,
        out: String::new(),
    };
    args.finish()?;
    json.value(value, 0)?;
    Ok(Value::from(json.out))
}

pub(crate) fn indent_unit(state: &State, indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.into());
    }
    let spaces = i64::try_from(indent.clone())?.max(0);
    state.consume_fuel(spaces as u64 / 64)?;
    Ok(" ".repeat(spaces as usize))
}

struct Json<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
    out: String,
}

impl Json<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        // A value that holds another twice, and so on, is written far longer than it is stored.
        self.state.consume_fuel(1)?;
        if depth > MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "value is nested too deeply for tojson",
            ));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                self.container('[', ']', value.try_iter()?, depth, |json, item| {
                    json.value(&item, depth + 1)
                })?
            }
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Undefined => {
                let message = "Object of type Undefined is not JSON serializable";
                return Err(Error::new(ErrorKind::UndefinedError, message));
            }
            kind => {
                let message = format!("{kind} is not JSON serializable");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn map(&mut self, map: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = map.try_iter()?.collect();
        if self.sort_keys {
            self.state.consume_fuel(keys.len() as u64)?;
            keys.sort();
        }
        self.container('{', '}', keys.into_iter(), depth, |json, key| {
            match key.kind() {
                ValueKind::String => json.string(key.as_str().unwrap_or_default())?,
                ValueKind::Bool => json.string(if key.is_true() { "true" } else { "false" })?,
                ValueKind::None => json.string("null")?,
                ValueKind::Number => json.string(&number(&key))?,
                kind => {
                    let message = format!("keys must be str, int, float, bool or None, not {kind}");
                    return Err(Error::new(ErrorKind::InvalidOperation, message));
                }
            }
            json.write_key_separator();
            json.value(&map.get_item(&key)?, depth + 1)
        })
    }

    fn container(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = Value>,
        depth: usize,
        mut write: impl FnMut(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut empty = true;
        for item in items {
            if !empty {
                self.out.push_str(&self.item.clone());
            }
            empty = false;
            self.new_line(depth + 1)?;
            write(self, item)?;
        }
        if !empty {
            self.new_line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn write_key_separator(&mut self) {
        let key = std::mem::take(&mut self.key);
        self.out.push_str(&key);
        self.key = key;
    }

    fn new_line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            self.state
                .consume_fuel((indent.len() * depth / 64) as u64)?;
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(text.len() as u64 / 64)?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => match number {
            number if number.is_nan() => "NaN".into(),
            number if number.is_infinite() => if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }
            .into(),
            number => float(number),
        },
        _ => value.to_string(),
    }
}
