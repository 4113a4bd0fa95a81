use std::io::Write;

use serde_json::json;
use vlm::{
    chat_template::grounding::Grounding,
    text::{Generated, TextStream, Tokenizer},
};

use crate::{args::Format, stats::Stats};

/// Prints an answer: as it comes, or as one JSON object at the end.
pub struct Output<'a> {
    format: Format,
    tokenizer: &'a Tokenizer,
    stream: TextStream<'a>,
}

impl<'a> Output<'a> {
    pub fn new(format: Format, tokenizer: &'a Tokenizer) -> Self {
        Self {
            format,
            tokenizer,
            stream: tokenizer.stream(),
        }
    }

    pub fn token(&mut self, token: u32) {
        if self.format == Format::Text {
            write(&self.stream.push(token));
        }
    }

    pub fn finish(
        self,
        prompt_tokens: &[u32],
        answer: &Generated,
        grounding: Option<&Grounding>,
        stats: Option<&Stats>,
    ) {
        if self.format == Format::Text {
            write(&self.stream.finish());
            write("\n");
            if let Some(stats) = stats {
                eprintln!("{stats}");
            }
            return;
        }
        let mut object = json!({
            "prompt_tokens": prompt_tokens,
            "tokens": answer.tokens,
            "text": self.tokenizer.decode(&answer.tokens),
        });
        if let Some(grounding) = grounding {
            object["caption"] = json!(grounding.caption);
            object["entities"] = json!(grounding.entities);
        }
        if let Some(stats) = stats {
            object["stats"] = stats.to_json();
        }
        write(&format!("{object}\n"));
    }
}

/// To stdout; a reader that has gone (`| head`) ends the program quietly.
pub fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}
