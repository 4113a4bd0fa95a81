//! Jinja tests that jinja2 answers otherwise than minijinja.

use minijinja::{Environment, Value, value::ValueKind};

pub(crate) fn add_tests(env: &mut Environment<'_>) {
    // jinja2 asks for a length and an item access, which strings, dicts and undefined have.
    env.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined
        )
    });
    // `none` is not, though minijinja loops over it.
    env.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}
