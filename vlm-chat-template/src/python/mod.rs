//! Python's behaviour where minijinja's differs: text of values, methods, tests and filters.

mod args;
mod filters;
mod number;
mod repr;
mod string;
mod tests;
mod words;

pub(crate) use args::Args;
pub(crate) use filters::{PERCENT, add_filters};
pub(crate) use number::float;
pub(crate) use repr::str;
pub(crate) use string::call_method;
pub(crate) use tests::add_tests;
pub(crate) use words::is_space;
