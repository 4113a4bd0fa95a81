use std::{
    io::{BufRead, IsTerminal, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use image::RgbImage;
use indicatif::ProgressBar;
use serde_json::Value;
use vlm::{
    Chat, Error, Pretrained,
    chat_template::{Content, Message, PartKind, grounding::Entity},
    core,
    text::{EndReason, GenerationConfig},
    vision::processor::size_of,
};

use crate::{draw, interrupt::Interrupt, output::write, stats::tokens_per_second};

const HELP: &str = "\
/image PATH   show a picture with the next question
/draw FILE    draw the boxes of the latest answer onto the latest picture
/history      the conversation so far
/reset        forget the conversation
/save FILE    write the conversation as JSON, as --messages reads it
/help         this list
/quit         leave (so do Ctrl-D, and Ctrl-C pressed twice)
Ctrl-C stops an answer.";

const ALONE: &str = "\
The checkpoint has no chat template: each question is asked by itself, about the pictures shown last.";

/// A conversation, a line a turn.
struct Session<'a> {
    pretrained: &'a Pretrained,
    chat: Chat<'a>,
    config: GenerationConfig,
    // Pictures that the next question shows.
    waiting: Vec<RgbImage>,
    latest: Option<RgbImage>,
    // Its tokens.
    answer: Vec<u32>,
}

/// Holds a conversation: on a terminal, or from a pipe.
pub fn run(
    pretrained: &Pretrained,
    images: Vec<RgbImage>,
    config: GenerationConfig,
) -> Result<(), Error> {
    let mut session = Session {
        pretrained,
        chat: Chat::new(pretrained),
        config,
        waiting: Vec::new(),
        latest: None,
        answer: Vec::new(),
    };
    for image in images {
        session.show(image)?;
    }
    if !session.chat.remembers() {
        eprintln!("{ALONE}");
    }
    let mut stdin = std::io::stdin().lock();
    let terminal = stdin.is_terminal();
    let mut interrupt = None;
    if terminal {
        eprintln!("Ask away; /help lists the commands.");
        // Without a handler Ctrl-C ends the program, as it does everywhere.
        interrupt = Interrupt::install().ok();
    }
    session.config.cancel = interrupt.as_ref().map(|interrupt| interrupt.cancel());
    loop {
        if terminal {
            eprint!("> ");
            let _ = std::io::stderr().flush();
        }
        let mut line = Vec::new();
        let read = stdin.read_until(b'\n', &mut line);
        if read.map_err(core::Error::io("stdin"))? == 0 {
            if terminal {
                eprintln!();
            }
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if ["/quit", "/exit"].contains(&line) {
            return Ok(());
        }
        let served = match &interrupt {
            Some(interrupt) => interrupt.while_working(|| session.serve(line)),
            None => session.serve(line),
        };
        // A turn that fails is no reason to lose the conversation.
        if let Err(error) = served {
            eprintln!("error: {}", examples::chain(&error));
        }
    }
}

impl Session<'_> {
    fn serve(&mut self, line: &str) -> Result<(), Error> {
        let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match command {
            "" => {}
            "/help" => eprintln!("{HELP}"),
            "/history" => eprint!("{}", self.history()),
            "/reset" => {
                self.chat.reset();
                self.waiting.clear();
                self.answer.clear();
            }
            "/image" => {
                let path = path(command, argument)?;
                let image = vlm::open_image(&path)?;
                let (width, height) = image.dimensions();
                self.show(image)?;
                let path = path.display();
                eprintln!("{path}: {width} × {height} pixels, for the next question");
            }
            "/draw" => self.draw(&path(command, argument)?)?,
            "/save" => self.save(&path(command, argument)?)?,
            _ if command.starts_with('/') => {
                eprintln!("{command} is no command; /help lists them");
            }
            _ => self.ask(line)?,
        }
        Ok(())
    }

    /// Encodes a picture for the next question.
    fn show(&mut self, image: RgbImage) -> Result<(), Error> {
        let spinner = spinner("encoding the picture");
        let encoded = self.chat.encode(&image);
        spinner.finish_and_clear();
        encoded?;
        self.latest = Some(image.clone());
        self.waiting.push(image);
        Ok(())
    }

    fn ask(&mut self, question: &str) -> Result<(), Error> {
        let spinner = spinner("reading");
        let images = self.waiting.clone();
        let start = Instant::now();
        let answer = self.chat.ask(question, images, &self.config, |text| {
            if !spinner.is_finished() {
                spinner.finish_and_clear();
            }
            write(text);
            ControlFlow::Continue(())
        });
        spinner.finish_and_clear();
        let answer = answer?;
        self.waiting.clear();
        write("\n");
        let (read, written) = (self.chat.tokens_read(), answer.generated.tokens.len());
        let reading = self.chat.reading_time();
        let writing = start.elapsed().saturating_sub(reading);
        let mut told = format!(
            "{read} tokens read in {:.1} s, {written} written, {:.1} tokens/s",
            reading.as_secs_f64(),
            tokens_per_second(&answer, writing)
        );
        match answer.generated.end {
            EndReason::Stopped => told += ", stopped",
            EndReason::Length => told += ", cut off by --max-new-tokens",
            EndReason::Time => told += ", cut off by --max-time",
            _ => {}
        }
        self.answer = answer.generated.tokens;
        if self.entities()?.iter().flatten().any(draw::has_place) {
            told += "; /draw FILE draws its boxes";
        }
        eprintln!("[{told}]");
        Ok(())
    }

    /// What the latest answer says about the latest picture, where the family says such things.
    fn entities(&self) -> Result<Option<Vec<Entity>>, Error> {
        let Some(picture) = &self.latest else {
            return Ok(None);
        };
        let sizes = [size_of(picture)];
        let grounding = self.pretrained.grounding(&self.answer, &sizes)?;
        Ok(grounding.map(|grounding| grounding.entities))
    }

    fn draw(&self, path: &Path) -> Result<(), Error> {
        draw::check("/draw", path)?;
        let Some(picture) = &self.latest else {
            return Err(Error::Usage("/draw: no picture was shown yet".to_owned()));
        };
        let entities = self.entities()?;
        let Pretrained {
            config, processor, ..
        } = self.pretrained;
        if entities.is_none()
            && !draw::may_point(config, processor.tokenizer(), &[size_of(picture)])?
        {
            return Err(draw::no_grounding("/draw"));
        }
        draw::write(path, picture, &entities.unwrap_or_default())
    }

    fn save(&self, path: &Path) -> Result<(), Error> {
        let messages = self.chat.messages();
        let values = messages.iter().map(|m| Value::Object(m.to_json()));
        let text = format!("{:#}\n", Value::Array(values.collect()));
        std::fs::write(path, text).map_err(core::Error::io(path))?;
        eprintln!("{}: {} messages", path.display(), messages.len());
        Ok(())
    }

    /// Questions as they were typed, answers below them.
    fn history(&self) -> String {
        let line = |message: &Message| {
            let mark = if message.role == "user" { "> " } else { "" };
            format!("{mark}{}\n", words(message))
        };
        self.chat.messages().iter().map(line).collect()
    }
}

fn words(message: &Message) -> String {
    if let Some(Content::Text(text)) = &message.content {
        return text.clone();
    }
    let word = |kind| match kind {
        PartKind::Text(text) => text,
        PartKind::Image(_) => "[picture] ",
        _ => "",
    };
    let parts = message.parts().iter();
    parts.map(|part| word(part.kind())).collect()
}

fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(80));
    spinner
}

/// A path as people type or drop it: in quotes, or from the home folder on.
fn path(command: &str, argument: &str) -> Result<PathBuf, Error> {
    let argument = argument.trim();
    let quoted = ['"', '\'']
        .iter()
        .find_map(|quote| argument.strip_prefix(*quote)?.strip_suffix(*quote));
    let argument = quoted.unwrap_or(argument);
    if argument.is_empty() {
        return Err(Error::Usage(format!("{command}: expected a path")));
    }
    let home = argument.strip_prefix("~/").zip(std::env::home_dir());
    Ok(match home {
        Some((rest, home)) => home.join(rest),
        None => PathBuf::from(argument),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_people_type_them() {
        let found = |argument| path("/image", argument).unwrap();
        assert_eq!(found(" a b.png "), Path::new("a b.png"));
        assert_eq!(found("'a b.png'"), Path::new("a b.png"));
        assert_eq!(found("\"it's\""), Path::new("it's"));
        assert_eq!(found("'"), Path::new("'"));
        let home = std::env::home_dir().unwrap();
        assert_eq!(found("~/a.png"), home.join("a.png"));
        for nothing in ["", "  ", "''"] {
            let error = path("/image", nothing).unwrap_err();
            assert_eq!(error.to_string(), "/image: expected a path");
        }
    }
}
