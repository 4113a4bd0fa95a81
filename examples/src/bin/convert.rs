//! Writes a checkpoint again: in another precision, and in the layout that transformers writes today.

use std::{path::PathBuf, process::ExitCode};

use burn::tensor::FloatDType;
use clap::{Parser, ValueEnum};
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
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
    let dtype = match args.dtype {
        Dtype::F32 => FloatDType::F32,
        Dtype::F16 => FloatDType::F16,
        Dtype::Bf16 => FloatDType::BF16,
    };
    let device = vlm::parse_device("flex")?;
    Pretrained::load(&args.model, dtype, &device)?.save(&args.output)
}
