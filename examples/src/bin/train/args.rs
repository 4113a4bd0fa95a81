//! The flags. Their doc comments are what `--help` prints, not rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use examples::model::Dtype;

/// Train a vision-language model on conversations about pictures.
///
/// The data is a file of "messages" and "images" as TRL's vision examples use it, of LLaVA's "conversations", or
/// Parquet. The output folder loads with `generate --model` (or `generate --adapter`) and with transformers (or
/// peft). A run that was killed goes on with --resume, to the same losses. Examples:
///
///   train --model DIR --data train.jsonl --output out --train projector --learning-rate 1e-3
///   train --model DIR --data train.jsonl --output out --train lora --labels assistant --epochs 2
///   train --recipe recipes/llava-lora.toml --model llava-hf/llava-1.5-7b-hf --data train.jsonl --output out
///   train (the same flags) --resume
///
/// What learns is kept in 32 bits, whatever --dtype is. Exit code 2: a flag is wrong; 1: anything else is.
#[derive(Debug, Parser)]
#[command(
    name = "train",
    version,
    verbatim_doc_comment,
    args_override_self = true
)]
pub struct Args {
    /// Flags from a TOML file, such as those in recipes/; flags that are given here come before them
    #[arg(long, value_name = "FILE.toml")]
    pub recipe: Option<PathBuf>,

    /// Folder in Hugging Face layout, or a hub id such as llava-hf/llava-1.5-7b-hf
    #[arg(long, value_name = "DIR|HUB_ID", help_heading = "Model")]
    pub model: String,

    /// Where the run keeps its checkpoints, its log and what it has trained
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,

    /// What learns: the projector, everything but the vision tower, everything, or low-rank adapters
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Model")]
    pub train: Train,

    /// Precision of what is frozen
    #[arg(long, value_enum, default_value_t = Dtype::F32, help_heading = "Model")]
    pub dtype: Dtype,

    /// Rank of the adapters' two factors
    #[arg(long, value_name = "R", default_value_t = 8, help_heading = "LoRA",
        value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub lora_rank: u32,

    /// The product of the factors counts A / R
    #[arg(long, value_name = "A", default_value_t = 16.0, help_heading = "LoRA")]
    pub lora_alpha: f64,

    /// Projections that get an adapter: names (q_proj), ends of paths (layers.0.mlp.fc1, * for any part), all-linear
    ///
    /// Names are those of the language model's modules in the checkpoint. The vision tower and the projector are
    /// adapted only where a path says so: vision_tower.encoder.layers.*.self_attn.q_proj.
    #[arg(
        long,
        value_name = "NAME,..",
        default_value = "q_proj,v_proj",
        value_delimiter = ',',
        help_heading = "LoRA"
    )]
    pub lora_targets: Vec<String>,

    /// Share of an adapter's input that is set to zero while it learns
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "LoRA")]
    pub lora_dropout: f64,

    /// An adapter in PEFT's layout to go on from; its rank, alpha, targets and dropout count
    #[arg(long, value_name = "DIR", help_heading = "LoRA")]
    pub adapter: Option<PathBuf>,

    /// Pack the frozen projections of the language model into integers: QLoRA
    ///
    /// Blocks of at most 64 weights share a scale. Products unpack them; what the backward pass needs of them is
    /// kept unpacked until it is there. On the CPU, 4 bits take the room of 8.
    #[arg(long, value_enum, value_name = "KIND", help_heading = "LoRA")]
    pub quantize: Option<Quantize>,

    /// What to learn from: a JSON object a line, a JSON list, or Parquet
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub data: PathBuf,

    /// What to evaluate on
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub eval_data: Option<PathBuf>,

    /// Which tokens are learned: all of the text, or what the assistant says
    #[arg(long, value_enum, default_value_t = LabelsFlag::All, help_heading = "Data")]
    pub labels: LabelsFlag,

    /// Positions of a sample at most; the end of a longer one is cut off, never through a picture
    #[arg(long, value_name = "T", help_heading = "Data")]
    pub max_length: Option<usize>,

    /// What happens to a sample whose end cannot be cut off: the run fails, or it is left out
    #[arg(long, value_enum, default_value_t = Choice::Fail, help_heading = "Data")]
    pub too_long: Choice,

    /// What happens to a sample that cannot be read: the run fails, or it is left out and named on stderr
    #[arg(long, value_enum, default_value_t = Choice::Fail, help_heading = "Data")]
    pub bad_samples: Choice,

    /// Pack several samples into a row of at most --max-length positions; they do not see one another
    #[arg(long, requires = "max_length", help_heading = "Data")]
    pub packing: bool,

    /// Batches of samples with pictures or without, of like length, as LLaVA's group_by_modality_length
    #[arg(long, help_heading = "Data")]
    pub group_by_length: bool,

    /// Take the samples in the order of the file
    #[arg(long, help_heading = "Data")]
    pub no_shuffle: bool,

    /// Threads that read and preprocess samples; all cores when left out
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub workers: Option<usize>,

    /// Samples that pass through the model together, on each device
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Steps",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_size: u32,

    /// Batches of a step, on each device
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Steps",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub gradient_accumulation: u32,

    /// Passes over the data
    #[arg(
        long,
        value_name = "E",
        default_value_t = 1.0,
        overrides_with = "steps",
        help_heading = "Steps"
    )]
    pub epochs: f64,

    /// Steps, in place of passes
    #[arg(
        long,
        value_name = "N",
        overrides_with = "epochs",
        help_heading = "Steps"
    )]
    pub steps: Option<usize>,

    /// The highest learning rate
    #[arg(
        long,
        value_name = "L",
        default_value_t = 2e-5,
        help_heading = "Optimizer"
    )]
    pub learning_rate: f64,

    /// The highest learning rate of the projector, where it has one of its own
    #[arg(long, value_name = "L", help_heading = "Optimizer")]
    pub projector_learning_rate: Option<f64>,

    /// How the learning rate changes after the warmup
    #[arg(long, value_enum, default_value_t = ScheduleFlag::Linear, help_heading = "Optimizer")]
    pub schedule: ScheduleFlag,

    /// Share of the steps in which the learning rate rises
    #[arg(
        long,
        value_name = "W",
        default_value_t = 0.0,
        help_heading = "Optimizer"
    )]
    pub warmup_ratio: f64,

    /// Decay of the weights, without biases and norms
    #[arg(
        long,
        value_name = "D",
        default_value_t = 0.0,
        help_heading = "Optimizer"
    )]
    pub weight_decay: f64,

    /// Share of the memory of squared gradients that a step keeps; less of it suits short runs from nothing
    #[arg(
        long,
        value_name = "B",
        default_value_t = 0.999,
        help_heading = "Optimizer"
    )]
    pub adam_beta2: f64,

    /// Gradients are scaled down to this common norm; 0 leaves them as they are
    #[arg(
        long,
        value_name = "G",
        default_value_t = 1.0,
        help_heading = "Optimizer"
    )]
    pub max_grad_norm: f64,

    /// Where random numbers begin: the order of the samples, fresh adapters, dropout
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,

    /// Keep less for the backward pass
    ///
    /// burn computes the results of operations on single values (additions, products, activations, reshapes) anew
    /// and keeps those of matrix products and sums; torch's checkpointing of whole blocks saves more and costs more.
    #[arg(long)]
    pub gradient_checkpointing: bool,

    /// Keep what the frozen vision tower makes of pictures in this folder, and take it from there
    ///
    /// It saves the tower's work from the second pass on, and in other runs with the same tower and pictures.
    #[arg(long, value_name = "DIR")]
    pub cache_features: Option<PathBuf>,

    /// Go on from the last complete checkpoint of the output folder, or begin where there is none
    #[arg(long)]
    pub resume: bool,

    /// Steps between checkpoints; a pass over the data when left out. The last and the best one stay
    ///
    /// A checkpoint holds what the output folder will hold (a whole model, without adapters) and the optimizer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub save_every: Option<u32>,

    /// Steps between evaluations; a pass over the data when left out
    #[arg(long, value_name = "N", requires = "eval_data", value_parser = clap::value_parser!(u32).range(1..))]
    pub eval_every: Option<u32>,

    /// Evaluations without a better one after which the run ends; its output is the best checkpoint then
    #[arg(long, value_name = "N", requires = "eval_data", value_parser = clap::value_parser!(u32).range(1..))]
    pub patience: Option<u32>,

    /// flex or ndarray (CPU), cuda[:I], wgpu[:I]; several, with commas, share each step
    #[arg(
        long,
        value_name = "DEVICE,..",
        alias = "devices",
        default_value = "flex",
        value_delimiter = ','
    )]
    pub device: Vec<String>,

    /// How steps are told: a progress bar, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Push the output to this repository of the Hugging Face hub, which is made where it is missing
    #[arg(long, value_name = "HUB_ID")]
    pub push_to_hub: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Train {
    /// The projector alone
    Projector,
    /// Everything but the vision tower
    #[value(name = "projector+decoder")]
    ProjectorAndDecoder,
    /// Everything
    All,
    /// Low-rank adapters
    Lora,
    /// Low-rank adapters, and the projector as a whole
    #[value(name = "lora+projector")]
    LoraAndProjector,
}

impl Train {
    pub fn is_lora(self) -> bool {
        matches!(self, Self::Lora | Self::LoraAndProjector)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quantize {
    Int8,
    Int4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LabelsFlag {
    All,
    Assistant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    Fail,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleFlag {
    Constant,
    Linear,
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}
