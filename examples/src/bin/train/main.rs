//! Trains a vision-language model on conversations about pictures.

mod args;
mod curve;
mod data;
mod dropout;
mod finish;
mod metrics;
mod progress;
mod recipe;
mod run;
mod session;
mod settings;
mod table;

use std::process::ExitCode;

use args::Args;

fn main() -> ExitCode {
    let arguments = match recipe::arguments(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return examples::report(&error),
    };
    let args: Args = examples::parse_from(arguments);
    examples::guard(|| run::run(&args))
}
