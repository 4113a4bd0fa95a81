//! What the programs share.

pub mod draw;
pub mod model;
pub mod shipped;
pub mod world;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use vlm::Error;

/// Runs a program: what goes wrong is said in one line on stderr, with exit code 2 where the flags are to blame
/// and 1 else.
pub fn guard(
    program: impl FnOnce() -> Result<ExitCode, Error> + std::panic::UnwindSafe,
) -> ExitCode {
    // Whatever slips through is said in one line, too.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("error: this is a fault of the program, please report it: {message} ({place})");
    }));
    match std::panic::catch_unwind(program) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => report(&error),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says an error in one line on stderr.
pub fn report(error: &Error) -> ExitCode {
    eprintln!("error: {}", chain(error));
    match error {
        Error::Usage(_) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// Reads the flags. Bad ones are said in one line on stderr, with exit code 2.
pub fn parse<A: Parser>() -> A {
    parse_from(std::env::args_os())
}

/// As [`parse`], from these arguments, the program's name first.
pub fn parse_from<A: Parser>(arguments: impl IntoIterator<Item = OsString>) -> A {
    A::try_parse_from(arguments).unwrap_or_else(|error| {
        let asked = [
            ErrorKind::DisplayHelp,
            ErrorKind::DisplayVersion,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ];
        if asked.contains(&error.kind()) {
            error.exit();
        }
        eprintln!(
            "{} (--help explains the flags)",
            one_line(&error.to_string())
        );
        std::process::exit(2);
    })
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The message without its usage, on one line.
fn one_line(message: &str) -> String {
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|end| message.find(end))
        .min()
        .unwrap_or(message.len());
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraphs = message[..end].split("\n\n").flat_map(|paragraph| {
        let mut tips = paragraph.split("  tip: ");
        let said = tips.next().map(words);
        // How to write a flag that is none as a value is no help to who mistyped it.
        let tips = tips.filter(|tip| !tip.starts_with("to pass "));
        said.into_iter().chain(tips.map(words))
    });
    let paragraphs: Vec<String> = paragraphs.filter(|text| !text.is_empty()).collect();
    paragraphs.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_unless_they_were_said() {
        let inner = std::io::Error::other("no\n space");
        let outer = std::io::Error::new(std::io::ErrorKind::NotFound, inner);
        assert_eq!(chain(&outer), "no space");
    }

    #[test]
    fn usage_is_left_out_and_lines_are_joined() {
        let message = "error: required:\n  <QUESTION>\n\nUsage: generate\n\nFor more information, try '--help'.\n";
        assert_eq!(one_line(message), "error: required: <QUESTION>");
        let message = "error: unexpected '--temprature'\n\n  tip: a similar one: '--temperature'\n  \
                       tip: to pass '--temprature' as a value, use it\n\nUsage: generate\n";
        assert_eq!(
            one_line(message),
            "error: unexpected '--temprature'; a similar one: '--temperature'"
        );
    }
}
