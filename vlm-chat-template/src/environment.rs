//! Hugging Face's Jinja environment.

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Value, syntax::SyntaxConfig, value::ValueKind,
};

use crate::{clock::Clock, error::Raised, limits, python};

/// Sandboxed (templates reach only what they are given and change nothing), `trim_blocks`,
/// `lstrip_blocks`, loop controls, no HTML escaping, Python's text forms, `raise_exception`,
/// `strftime_now`, the reference's `tojson`.
pub(crate) fn environment(clock: Clock, fuel: u64) -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    env.set_syntax(syntax.expect("jinja2's own delimiters are valid"));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(fuel));
    env.set_debug(false);
    env.set_unknown_method_callback(python::call_method);
    env.set_formatter(|out, state, value| match value.kind() {
        ValueKind::String => minijinja::escape_formatter(out, state, value),
        _ => out
            .write_str(&python::str(state, value)?)
            .map_err(Error::from),
    });
    python::add_tests(&mut env);
    python::add_filters(&mut env);
    env.remove_global("debug");
    env.add_function(
        "raise_exception",
        |message: &Value| -> Result<Value, Error> {
            let raised = Raised(message.to_string());
            Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
        },
    );
    env.add_function(limits::GUARD, limits::shallow);
    set_clock(&mut env, clock);
    env
}

/// Replaces the clock of `strftime_now`.
pub(crate) fn set_clock(env: &mut Environment<'_>, clock: Clock) {
    env.add_function("strftime_now", move |format: &str| {
        clock.strftime_now(format)
    });
}
