//! Asks a vision-language model a question about pictures.

mod args;
mod chat;
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
    examples::guard(|| run::run(&args).map(|()| ExitCode::SUCCESS))
}
