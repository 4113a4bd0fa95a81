//! What the programs share.

use clap::{Parser, error::ErrorKind};

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
    fn usage_is_left_out_and_lines_are_joined() {
        let message = "error: required:\n  <QUESTION>\n\nUsage: generate\n\nFor more information, try '--help'.\n";
        assert_eq!(one_line(message), "error: required: <QUESTION>");
    }
}
