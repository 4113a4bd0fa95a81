//! What fuel does not limit: the depth of expressions and values, on which the engine's stack
//! depends. Without these limits a downloaded template could abort the process.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Rest, Tuple, ValueKind},
};

use crate::lexer::{Kind, Piece};

/// Longer expressions than any template's by far, and shorter than what overflows a small stack.
const MAX_TOKENS: usize = 1000;
const MAX_ELIFS: usize = 250;
const MAX_MACROS: usize = 50;
/// Deeper than any JSON that serde_json reads.
pub(crate) const MAX_DEPTH: usize = 200;

/// The function that every assigned value passes through.
pub(crate) const GUARD: &str = "__shallow__";

/// Refuses a template with a tag or a chain of `elif` that is too long; returns the place.
pub(crate) fn check(source: &str, pieces: &[Piece]) -> Result<(), (usize, Error)> {
    let mut elifs = vec![0];
    let mut macros = 0usize;
    for Piece {
        kind,
        range,
        strings,
        ..
    } in pieces
    {
        let too_long = |what: &str| {
            let line = 1 + source[..range.start].matches('\n').count();
            Err((
                line,
                Error::new(ErrorKind::SyntaxError, format!("{what} is too long")),
            ))
        };
        if matches!(kind, Kind::Expression | Kind::Statement { .. }) {
            let in_strings: usize = strings.iter().map(|string| string.len()).sum();
            // Each token has a byte, so most tags need no closer look.
            if range.len() - in_strings > MAX_TOKENS
                && tokens(&source[range.clone()], range.start, strings) > MAX_TOKENS
            {
                return too_long("this tag");
            }
        }
        if let Kind::Statement { name, .. } = kind {
            match &source[name.clone()] {
                "if" | "for" => elifs.push(0),
                "endif" | "endfor" if elifs.len() > 1 => drop(elifs.pop()),
                "macro" | "call" | "generation" => {
                    macros += 1;
                    if macros > MAX_MACROS {
                        return too_long("this chain of macros in macros");
                    }
                }
                "endmacro" | "endcall" | "endgeneration" => macros = macros.saturating_sub(1),
                "elif" => {
                    let count = elifs.last_mut().expect("the outermost count stays");
                    *count += 1;
                    if *count > MAX_ELIFS {
                        return too_long("this chain of elif");
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Counts words, signs and strings.
fn tokens(tag: &str, start: usize, strings: &[std::ops::Range<usize>]) -> usize {
    let mut count = strings.len();
    let mut in_word = false;
    let mut strings = strings.iter().peekable();
    for (at, byte) in tag.bytes().enumerate() {
        while strings.next_if(|string| string.end <= start + at).is_some() {}
        if strings
            .peek()
            .is_some_and(|string| string.start <= start + at)
        {
            in_word = false;
            continue;
        }
        let word = byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
        let continues = byte.is_ascii_whitespace() || (word && in_word);
        count += usize::from(!continues);
        in_word = word;
    }
    count
}

/// Passes a value on unless it is nested too deeply. What is lazy becomes a list, since lazy
/// values can be nested without its showing.
pub(crate) fn shallow(state: &State, values: Rest<Value>) -> Result<Value, Error> {
    let mut values = values.0;
    let value = match values.len() {
        1 => values.remove(0),
        _ => Value::from(Tuple::new(values)),
    };
    let value = match value.kind() {
        ValueKind::Iterable => value.try_iter()?.collect(),
        _ => value,
    };
    walk(state, &value, 0)?;
    Ok(value)
}

fn walk(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "value is nested too deeply",
        ));
    }
    match value.kind() {
        ValueKind::Seq => {
            state.consume_fuel(1 + value.len().unwrap_or(0) as u64 / 16)?;
            value
                .try_iter()?
                .try_for_each(|item| walk(state, &item, depth + 1))
        }
        ValueKind::Map => {
            state.consume_fuel(1 + value.len().unwrap_or(0) as u64 / 16)?;
            value
                .try_iter()?
                .try_for_each(|key| walk(state, &value.get_item(&key)?, depth + 1))
        }
        ValueKind::Iterable => walk(state, &value.try_iter()?.collect(), depth + 1),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::{ChatTemplate, Error, Message, RenderOptions};

    fn compile(source: &str) -> Result<ChatTemplate, Error> {
        ChatTemplate::new(source)
    }

    #[test]
    fn long_tags_and_chains_are_refused() {
        for n in [3000, 100_000] {
            for source in [
                format!("\n{{{{ 1{} }}}}", "|abs".repeat(n)),
                format!("\n{{{{ x{} }}}}", "~x".repeat(n)),
                format!("\n{{{{ x{} }}}}", "[0:]".repeat(n)),
                format!("\n{{{{ {}1 }}}}", "1 if 0 else ".repeat(n)),
                format!("\n{{{{ {}1 }}}}", "not ".repeat(n)),
                format!("{{% if a %}}\n{}{{% endif %}}", "{% elif b %}".repeat(n)),
                format!("\n{}", "{% macro m() %}".repeat(n)),
            ] {
                let error = compile(&source).unwrap_err();
                assert!(matches!(error, Error::Syntax { line: 2, .. }), "{error}");
                assert!(error.to_string().contains("is too long"), "{error}");
            }
        }
    }

    #[test]
    fn long_strings_and_texts_are_fine() {
        let words = "word ( + ) ".repeat(5000);
        compile(&format!(
            "{words}{{{{ '{words}' ~ \"{words}\" }}}}{{# {words} #}}"
        ))
        .unwrap();
        compile(&"{% if a %}{% elif b %}{% endif %}{% macro m() %}{% endmacro %}".repeat(5000))
            .unwrap();
    }

    #[test]
    fn values_do_not_nest_without_end() {
        let step = |value: &str| {
            format!(
                "{{% set ns = namespace(x=[1]) %}}{{% for i in range(5000) %}}{{% set ns.x = {value} %}}{{% endfor %}}"
            )
        };
        for source in [
            step("[ns.x]"),
            step("{'a': ns.x}"),
            step("(ns.x, 1)"),
            step("ns.x, 1"),
            step("ns.x | zip([1])"),
            step("namespace(a=ns.x)"),
            format!("{{% set x = [] %}}{}", "{% set x = [x] %}".repeat(5000)),
        ] {
            let error = compile(&source)
                .unwrap()
                .render(&[Message::user("x")], &RenderOptions::new());
            assert!(
                error.unwrap_err().to_string().contains("nested too deeply"),
                "{source}"
            );
        }
        for source in [
            step("ns.x[0:]"),
            step("ns.x | reverse"),
            step("ns.x | map('int')"),
        ] {
            compile(&source)
                .unwrap()
                .render(&[Message::user("x")], &RenderOptions::new())
                .unwrap();
        }
    }

    #[test]
    fn assignments_keep_their_values() {
        let render = |source: &str| {
            compile(source)
                .unwrap()
                .render(&[Message::user("x")], &RenderOptions::new())
                .unwrap()
                .into_text()
        };
        assert_eq!(
            render("{% set x = 1, %}{{ x }}{%- set y =2-%}  {{ y }}"),
            "(1,)2"
        );
        assert_eq!(
            render("{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}"),
            "123"
        );
        assert_eq!(
            render(
                "{% set x = 'a' if nothing %}{{ x is defined }}{% set x = nothing %}{{ x is defined }}"
            ),
            "FalseFalse"
        );
        assert_eq!(
            render("{% set x | replace('=', '(', 1) %}a=={% endset %}{{ x }}"),
            "a(="
        );
        assert_eq!(
            render("{% set x | default('d', boolean=true) %}{% endset %}{{ x }}"),
            "d"
        );
    }
}
