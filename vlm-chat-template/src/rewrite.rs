//! Turns a jinja2 source into one that minijinja reads the same way.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use minijinja::Error;

use crate::{
    escapes::{escape, needs_spelling_out, unescape},
    generation,
    lexer::{Kind, Piece, bracket_end, operand_end, pieces},
    limits, python,
};

/// A source as the engine gets it, and what was learned on the way.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub source: String,
    /// Whether it has a `{% generation %}` block.
    pub generation: bool,
    /// All text and string literals, joined by NUL.
    pub literals: String,
}

/// Rewrites a template. Lines stay where they are (but for a string literal of several lines with
/// escapes to spell out).
///
/// - `{% generation %}` becomes a call block, which is what jinja2's extension makes of it, too.
/// - The bodies of macros and call blocks begin with an idle `{% if %}` that mentions every name
///   in them: minijinja takes along only the variables that it finds in the body, and it does not
///   look into slices (`x[1:]`) and assignments to attributes (`set ns.x`).
/// - `"…" % value` becomes a filter: minijinja has no such operator for strings.
/// - Assigned values pass through a function that limits their depth.
/// - `{% raw %}` becomes `{% raw +%}`: `trim_blocks` does not reach into a raw block in jinja2.
/// - String escapes that only Python knows are spelled out.
///
/// # Errors
///
/// The line of a tag that is too long, and the error.
pub(crate) fn rewrite(source: &str) -> Result<Rewritten, (usize, Error)> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let pieces = pieces(&source);
    limits::check(&source, &pieces)?;
    let mut edits: Vec<(Range<usize>, Cow<'static, str>)> = Vec::new();
    let mut literals = Vec::new();
    let mut generation = false;
    let mut bodies: Vec<Body<'_>> = Vec::new();
    for Piece {
        kind,
        range,
        strings,
        names,
    } in &pieces
    {
        let names = names.iter().map(|name| &source[name.clone()]);
        bodies
            .iter_mut()
            .for_each(|body| body.names.extend(names.clone()));
        for string in strings {
            let literal = &source[string.start + 1..string.end - 1];
            let text = unescape(literal);
            if needs_spelling_out(literal) {
                edits.push((
                    string.start + 1..string.end - 1,
                    escape(&text, literal).into(),
                ));
            }
            literals.push(text);
            if let Some((percent, end)) = percent_operand(&source[..range.end - 2], string.end) {
                edits.push((
                    percent..percent + 1,
                    format!("|{}(", python::PERCENT).into(),
                ));
                edits.push((end..end, ")".into()));
            }
        }
        match kind {
            Kind::Text => literals.push(source[range.clone()].into()),
            Kind::RawOpen if !source[..range.end - 2].ends_with(['-', '+']) => {
                edits.push((range.end - 2..range.end - 2, "+".into()));
            }
            Kind::Statement { name, bare } => match &source[name.clone()] {
                "set" => edits.extend(
                    assignment(&source, name.end, range.end)
                        .into_iter()
                        .flatten(),
                ),
                "generation" if *bare => {
                    generation = true;
                    edits.push((name.clone(), generation::OPEN.into()));
                    bodies.push(Body {
                        start: range.end,
                        names: BTreeSet::new(),
                    });
                }
                "macro" | "call" => bodies.push(Body {
                    start: range.end,
                    names: BTreeSet::new(),
                }),
                "endmacro" | "endcall" => {
                    edits.extend(bodies.pop().and_then(|body| body.edit(&source)))
                }
                "endgeneration" if *bare => {
                    edits.push((name.clone(), generation::CLOSE.into()));
                    edits.extend(bodies.pop().and_then(|body| body.edit(&source)));
                }
                _ => {}
            },
            _ => {}
        }
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut rewritten = String::with_capacity(source.len() + 16 * edits.len());
    let mut done = 0;
    for (range, text) in edits {
        rewritten.push_str(&source[done..range.start]);
        rewritten.push_str(&text);
        done = range.end;
    }
    rewritten.push_str(&source[done..]);
    Ok(Rewritten {
        source: rewritten,
        generation,
        literals: literals.join("\0"),
    })
}

/// Where a tag has `%` after the string literal that ends at `at`, and where its operand ends.
fn percent_operand(tag: &str, at: usize) -> Option<(usize, usize)> {
    let after = tag.get(at..)?;
    let percent = at + after.len() - after.trim_start().len();
    tag[percent..].starts_with('%').then_some(())?;
    Some((percent, operand_end(tag, percent + 1)?))
}

/// Wraps the right side of a `set` tag, whose name ends at `start`.
fn assignment(
    source: &str,
    start: usize,
    end: usize,
) -> Option<[(Range<usize>, Cow<'static, str>); 2]> {
    let inside = source[start..end - 2].trim_end_matches(['-', '+']);
    let bytes = inside.as_bytes();
    let mut at = 0;
    while *bytes.get(at)? != b'=' {
        at = if matches!(bytes[at], b'(' | b'[') {
            bracket_end(bytes, at)?
        } else {
            at + 1
        };
    }
    let value = start + at + 1;
    let end = start + inside.trim_end().len();
    // A tuple of one would become its item.
    let wrap = value < end && !source[value..end].ends_with(',');
    wrap.then(|| {
        [
            (value..value, format!(" {}(", limits::GUARD).into()),
            (end..end, ")".into()),
        ]
    })
}

/// Names that are no variables, or none that a body could take along.
const NOT_VARIABLES: &str = " and break call caller continue defined do elif else endcall endfilter endfor \
    endgeneration endif endmacro endset endwith false False filter for generation if import in include is macro \
    none None not or raw recursive self set super true True with ";

/// The body of a macro or call block.
struct Body<'s> {
    start: usize,
    names: BTreeSet<&'s str>,
}

impl Body<'_> {
    /// The idle `{% if %}`, put between the opening tag and the white space control at its end.
    fn edit(self, source: &str) -> Option<(Range<usize>, Cow<'static, str>)> {
        let is_variable = |name: &&str| !NOT_VARIABLES.contains(&format!(" {name} "));
        let names: Vec<&str> = self.names.into_iter().filter(is_variable).collect();
        if names.is_empty() {
            return None;
        }
        let delimiter = self.start - 2;
        let sign = usize::from(source[..delimiter].ends_with(['-', '+']));
        let at = delimiter - sign;
        let mention = names.join(" is defined or ");
        Some((
            at..at,
            format!("%}}{{% if {mention} is defined %}}{{% endif ").into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(source: &str) -> Rewritten {
        rewrite(source).unwrap()
    }

    #[test]
    fn generation_becomes_a_call_block() {
        let rewritten = ours(
            "a\n{%- generation -%}\nb{%generation%}c{% endgeneration +%}{{ '{% generation %}' }}",
        );
        assert!(rewritten.generation);
        assert_eq!(
            rewritten.source,
            "a\n{%- call __generation__() -%}\nb{%call __generation__()%}c{% endcall +%}{{ '{% generation %}' }}"
        );
        assert!(!ours("{% raw %}{% generation %}{% endraw %}").generation);
        assert!(!ours("{# {% generation %} #}{% set generation = 1 %}").generation);
    }

    #[test]
    fn percent_becomes_a_filter() {
        for (source, rewritten) in [
            ("{{ '%s' % x }}", "{{ '%s' |__percent__( x) }}"),
            (
                "{{ '%s' % x.y[1](2)|upper ~ 'a' }}",
                "{{ '%s' |__percent__( x.y[1](2)|upper) ~ 'a' }}",
            ),
            (
                "{{ '%s'%('a', ')') }}",
                "{{ '%s'|__percent__(('a', ')')) }}",
            ),
            ("{{ ['%d' % -1, 2] }}", "{{ ['%d' |__percent__( -1), 2] }}"),
            (
                "{% set x = '%s' % 'a' 'b' if c %}",
                "{% set x = __shallow__( '%s' |__percent__( 'a' 'b') if c) %}",
            ),
            (
                "{% if x == 'a' %}b{% endif %}",
                "{% if x == 'a' %}b{% endif %}",
            ),
            (
                "{% if x == 'a'%}b{% endif %}",
                "{% if x == 'a'%}b{% endif %}",
            ),
            ("{{ 7 % 2 }}", "{{ 7 % 2 }}"),
        ] {
            assert_eq!(ours(source).source, rewritten);
        }
    }

    #[test]
    fn bodies_mention_their_variables() {
        assert_eq!(
            ours("{% macro f(a) -%} {{ a.b | c }}{% set ns.x = y[1:] %} {%- endmacro +%}").source,
            "{% macro f(a) %}{% if a is defined or ns is defined or y is defined %}{% endif -%} \
             {{ a.b | c }}{% set ns.x = __shallow__( y[1:]) %} {%- endmacro +%}"
        );
    }

    #[test]
    fn literals_are_text_and_strings() {
        assert_eq!(
            ours("<a>{{ '<' ~ x ~ \"b\\n>\" }}{# no #}c").literals,
            "<a>\0<\0b\n>\0c"
        );
    }
}
