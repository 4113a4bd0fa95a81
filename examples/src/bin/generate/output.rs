use std::{
    io::{IsTerminal, Write},
    path::Path,
};

use serde_json::{Value, json};
use vlm::{Error, chat_template::grounding::Grounding, core, text::Answer};

use crate::{args::Format, stats::Stats};

/// The answer as one JSON object.
pub fn to_json(prompt_tokens: &[u32], answer: &Answer, grounding: Option<&Grounding>) -> Value {
    let mut object = json!({
        "prompt_tokens": prompt_tokens,
        "tokens": answer.generated.tokens,
        "text": answer.text,
    });
    if let Some(log_probs) = &answer.generated.log_probs {
        object["log_probs"] = json!(log_probs);
    }
    if let Some(grounding) = grounding {
        object["caption"] = json!(grounding.caption);
        object["entities"] = json!(grounding.entities);
    }
    object
}

/// Prints what is left to print of an answer whose text was shown as it came.
pub fn finish(
    format: Format,
    prompt_tokens: &[u32],
    answer: &Answer,
    grounding: Option<&Grounding>,
    stats: Option<&Stats>,
) {
    match format {
        Format::Text => {
            write("\n");
            if let Some(stats) = stats {
                eprintln!("{stats}");
            }
        }
        Format::Json => {
            let mut object = to_json(prompt_tokens, answer, grounding);
            if let Some(stats) = stats {
                object["stats"] = stats.to_json();
            }
            write(&format!("{object}\n"));
        }
    }
}

/// Refuses a file that cannot be written, before an answer is waited for.
pub fn check_file(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let message = if path.is_dir() {
        "expected a file, found a folder".to_owned()
    } else if folder != Path::new("") && !folder.is_dir() {
        format!("there is no folder {} to write it into", folder.display())
    } else {
        return Ok(());
    };
    Err(core::Error::file(path, message).into())
}

/// To stdout; a reader that has gone (`| head`) ends the program quietly.
pub fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let text = match stdout.is_terminal() {
        true => harmless(text),
        false => text.to_owned(),
    };
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}

/// Text that moves no cursor and changes no colour of a terminal, whatever a model wrote.
fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_as_such() {
        assert_eq!(
            harmless("é\n\t\u{1b}[2J\r\u{9b}"),
            "é\n\t\u{fffd}[2J\u{fffd}\u{fffd}"
        );
    }
}
