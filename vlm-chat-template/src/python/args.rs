//! Arguments of methods and filters.

use std::sync::Arc;

use minijinja::{Error, ErrorKind, Value, value::Kwargs};

/// Arguments that are given by place or by name.
pub(crate) struct Args {
    placed: Vec<Value>,
    named: Option<Kwargs>,
}

impl Args {
    pub(crate) fn new(args: &[Value]) -> Self {
        let named = args
            .last()
            .filter(|last| last.is_kwargs())
            .and_then(|last| Kwargs::try_from(last.clone()).ok());
        let placed = args[..args.len() - usize::from(named.is_some())].to_vec();
        Args { placed, named }
    }

    pub(crate) fn len(&self) -> usize {
        self.placed.len()
    }

    /// An argument; `none` counts as not given.
    pub(crate) fn get(&self, place: usize, name: &str) -> Option<Value> {
        self.any(place, name).filter(|value| !value.is_none())
    }

    /// An argument, which may be `none`.
    pub(crate) fn any(&self, place: usize, name: &str) -> Option<Value> {
        let named = || self.named.as_ref()?.get::<Option<Value>>(name).ok()?;
        self.placed.get(place).cloned().or_else(named)
    }

    pub(crate) fn required(&self, place: usize, name: &str) -> Result<Value, Error> {
        let missing = || {
            Error::new(
                ErrorKind::MissingArgument,
                format!("missing argument `{name}`"),
            )
        };
        self.get(place, name).ok_or_else(missing)
    }

    pub(crate) fn string(&self, place: usize, name: &str) -> Result<Option<Arc<str>>, Error> {
        let message = || format!("`{name}` should be a string");
        let wrong = || Error::new(ErrorKind::InvalidOperation, message());
        let string = |value: Value| value.to_str().ok_or_else(wrong);
        self.get(place, name).map(string).transpose()
    }

    pub(crate) fn required_string(&self, place: usize, name: &str) -> Result<Arc<str>, Error> {
        self.required(place, name)?;
        Ok(self.string(place, name)?.unwrap_or_default())
    }

    /// Fails when a named argument was not asked for.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        self.named.as_ref().map_or(Ok(()), Kwargs::assert_all_used)
    }
}
