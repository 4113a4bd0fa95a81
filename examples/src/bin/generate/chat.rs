use std::{
    io::{BufRead, IsTerminal, Write},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use image::RgbImage;
use indicatif::ProgressBar;
use serde_json::Value;
use vlm::{Chat, Error, Pretrained, core, text::GenerationConfig};

use crate::output::write;

const HELP: &str = "\
/image PATH   show a picture with the next question
/reset        forget the conversation
/save FILE    write the conversation as JSON, as --messages reads it
/help         this list
/quit         leave (so does the end of the input)";

/// A conversation, a line a turn: on a terminal, or from a pipe.
pub fn run(
    pretrained: &Pretrained,
    images: Vec<RgbImage>,
    config: &GenerationConfig,
) -> Result<(), Error> {
    let mut chat = Chat::new(pretrained);
    let mut waiting = Vec::new();
    for image in images {
        show(&mut chat, &image)?;
        waiting.push(image);
    }
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("Ask away; /help lists the commands.");
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            eprint!("> ");
            let _ = std::io::stderr().flush();
        }
        let Some(line) = lines.next() else {
            return Ok(());
        };
        let line = line.map_err(core::Error::io("stdin"))?;
        let line = line.trim();
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let done = match command {
            "" => Ok(()),
            "/quit" | "/exit" => return Ok(()),
            "/help" => {
                eprintln!("{HELP}");
                Ok(())
            }
            "/reset" => {
                chat.reset();
                waiting.clear();
                Ok(())
            }
            "/image" => open(&mut chat, &mut waiting, argument.trim()),
            "/save" => save(&chat, argument.trim()),
            _ if line.starts_with('/') => {
                eprintln!("{command} is no command; /help lists them");
                Ok(())
            }
            _ => answer(&mut chat, line, &mut waiting, config),
        };
        // A turn that fails is no reason to lose the conversation.
        if let Err(error) = done {
            eprintln!("error: {}", examples::chain(&error));
        }
    }
}

fn open(chat: &mut Chat<'_>, waiting: &mut Vec<RgbImage>, path: &str) -> Result<(), Error> {
    let image = vlm::open_image(path)?;
    show(chat, &image)?;
    waiting.push(image);
    Ok(())
}

/// Encodes a picture while a spinner turns.
fn show(chat: &mut Chat<'_>, image: &RgbImage) -> Result<(), Error> {
    let spinner = ProgressBar::new_spinner().with_message("encoding the picture");
    spinner.enable_steady_tick(Duration::from_millis(80));
    let encoded = chat.encode(image);
    spinner.finish_and_clear();
    encoded
}

fn save(chat: &Chat<'_>, path: &str) -> Result<(), Error> {
    let messages = chat.messages().iter().map(|m| Value::Object(m.to_json()));
    let text = format!("{:#}\n", Value::Array(messages.collect()));
    std::fs::write(path, text).map_err(core::Error::io(path))?;
    eprintln!("{path}: {} messages", chat.messages().len());
    Ok(())
}

fn answer(
    chat: &mut Chat<'_>,
    question: &str,
    waiting: &mut Vec<RgbImage>,
    config: &GenerationConfig,
) -> Result<(), Error> {
    let mut first = None;
    let start = Instant::now();
    let answer = chat.ask(question, waiting.clone(), config, |text| {
        first.get_or_insert_with(Instant::now);
        write(text);
        ControlFlow::Continue(())
    })?;
    waiting.clear();
    write("\n");
    let tokens = answer.generated.tokens.len();
    let seconds = first.unwrap_or(start).elapsed().as_secs_f64();
    let speed = tokens.saturating_sub(1) as f64 / seconds.max(1e-9);
    eprintln!(
        "[{} tokens read, {tokens} written, {speed:.1} tokens/s]",
        chat.tokens_read()
    );
    Ok(())
}
