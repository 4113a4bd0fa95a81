//! Asks a vision-language model a question about pictures.

mod args;
mod chat;
mod draw;
mod interrupt;
mod logits;
mod model;
mod output;
mod requests;
mod run;
mod settings;
mod stats;

use std::process::ExitCode;

use args::Args;

fn main() -> ExitCode {
    let args: Args = examples::parse();
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
    match std::panic::catch_unwind(|| run::run(&args)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("error: {}", examples::chain(&error));
            match error {
                vlm::Error::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
        Err(_) => ExitCode::FAILURE,
    }
}
