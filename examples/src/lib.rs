//! What the programs share.

use clap::{Parser, error::ErrorKind};

pub mod world;

/// Reads the flags. Bad ones are said in one line on stderr, with exit code 2.
pub fn parse<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|error| {
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
    message[..end]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
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
    }
}
