//! Writes a checkpoint again: in another precision, and in the layout that transformers writes today.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use examples::model::Dtype;
use vlm::Pretrained;

/// Write a checkpoint again: in another precision, and in the layout that transformers writes today.
#[derive(Debug, Parser)]
#[command(name = "convert", version)]
struct Args {
    /// Folder in Hugging Face layout, of any generation
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Folder to write; made where it does not exist
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Precision to write
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

fn main() -> ExitCode {
    let args: Args = examples::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", examples::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), vlm::Error> {
    let device = vlm::parse_device("flex")?;
    Pretrained::load(&args.model, args.dtype.float(), &device)?.save(&args.output)
}
