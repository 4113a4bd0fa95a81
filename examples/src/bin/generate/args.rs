//! The flags. Their doc comments are what `--help` prints, not rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

use std::path::PathBuf;

use clap::{ArgGroup, Parser, ValueEnum};
use examples::model::Dtype;

/// Ask a vision-language model a question about pictures.
///
/// The model is a folder in Hugging Face layout, or the id of one on the Hugging Face hub. Examples:
///
///   generate --image examples/world/pictures/digit.png "Which digit is this?"
///   generate --model DIR --image photo.jpg "What is in the picture?"
///   generate --model llava-hf/llava-1.5-7b-hf --image a.png --image b.png "What differs?"
///   generate --model DIR --image photo.jpg        (a conversation; /help tells its commands)
///   generate --model DIR --image photo.jpg --prompt "USER: <image>\nDescribe it. ASSISTANT:"
///   generate --model DIR --image photo.jpg --plan "What is in the picture?"
///   generate --model DIR --requests questions.jsonl --format json
///   generate --model microsoft/kosmos-2-patch14-224 --image photo.jpg --draw boxes.png \
///       --prompt "<grounding>An image of"
///
/// Answers go to stdout, everything else to stderr. Exit code 2: a flag is wrong; 1: anything else is.
#[derive(Debug, Parser)]
#[command(name = "generate", version, verbatim_doc_comment)]
#[command(mut_args(|arg| {
    let heading = heading(arg.get_id().as_str());
    arg.help_heading(heading)
}))]
#[command(group = ArgGroup::new("asked"))]
pub struct Args {
    /// Folder in Hugging Face layout, or a hub id such as llava-hf/llava-1.5-7b-hf
    ///
    /// Left out: the small model that ships, which knows drawn shapes, words, digits and bar charts
    /// (examples/world/pictures), no photographs.
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub model: Option<String>,

    /// A picture; again for more, in the order of the prompt
    #[arg(long, value_name = "PATH")]
    pub image: Vec<PathBuf>,

    /// A question about the pictures, put into the checkpoint's chat template; where it has none, into the form
    /// that the family is usually asked in
    ///
    /// Left out, as all of its kind: a conversation on the terminal, or of the lines of stdin.
    #[arg(group = "asked")]
    pub question: Option<String>,

    /// A prompt used exactly as given, a placeholder such as <image> in it for each picture
    #[arg(long, value_name = "TEXT", group = "asked")]
    pub prompt: Option<String>,

    /// A conversation for the chat template: a JSON array of {"role", "content"}
    #[arg(long, value_name = "FILE.json", group = "asked")]
    pub messages: Option<PathBuf>,

    /// Generate nothing: print what the markup of an earlier answer says, as JSON with caption and entities
    #[arg(long, value_name = "TEXT", group = "asked")]
    pub post_process: Option<String>,

    /// Requests that run as one batch: an object a line, {"images", "prompt"} or {"images", "messages"}
    ///
    /// Pictures are relative to the file. One result a line, in order.
    #[arg(long, value_name = "FILE.jsonl", group = "asked", conflicts_with_all = ["image", "logits", "plan"])]
    pub requests: Option<PathBuf>,

    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub max_new_tokens: u32,

    /// Sample, lower being more certain; 0 always takes the best token, as without this flag
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,

    /// Sample among the best K tokens
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// Sample among the best tokens that together have this probability
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,

    /// Sample among tokens with at least this share of the best token's probability
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,

    /// Makes tokens less likely that stand in the text already, when above 1
    #[arg(long, value_name = "R")]
    pub repetition_penalty: Option<f32>,

    /// Subtracted from the scores of tokens that were generated
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub presence_penalty: Option<f32>,

    /// Subtracted from the scores of tokens for each time that they were generated
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub frequency_penalty: Option<f32>,

    /// No run of N tokens stands twice in prompt and answer
    #[arg(long, value_name = "N")]
    pub no_repeat_ngram_size: Option<usize>,

    /// Answers that are written side by side, of which the most likely counts
    #[arg(long, value_name = "N")]
    pub beams: Option<usize>,

    /// Power of the length by which beams are compared; above 0 rewards length
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub length_penalty: Option<f64>,

    /// End the answer before this text; again for more
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,

    /// The answer is one of these; again for each
    #[arg(long, value_name = "TEXT")]
    pub choice: Vec<String>,

    /// End answers after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub max_time: Option<f64>,

    /// Take sampling and beams from generation_config.json; flags come before it
    #[arg(long)]
    pub checkpoint_defaults: bool,

    /// With --format json: the logarithm of each token's probability, as "log_probs"
    #[arg(long)]
    pub log_probs: bool,

    /// A LoRA adapter in PEFT's layout, attached to the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// Where the random numbers of sampling begin
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,

    /// flex or ndarray (CPU), cuda[:I], wgpu[:I]
    #[arg(long, default_value = "flex")]
    pub device: String,

    /// Precision of the weights
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,

    /// Round the weights of linear layers to whole numbers of 8 or 4 bits, 32 of them to a factor
    #[arg(long, value_enum, value_name = "int8|int4")]
    pub quantize: Option<Quantize>,

    /// How the answer is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Write the prompt's logits and the pixel values to a file, to find where two implementations part
    #[arg(long, value_name = "FILE.safetensors")]
    pub logits: Option<PathBuf>,

    /// Write the picture with the boxes and points of the answer, each with its words
    ///
    /// For models that answer with places (Kosmos-2, Fuyu), and one picture. An answer without any leaves the
    /// picture as it is. With --post-process, an earlier answer is drawn.
    #[arg(long, value_name = "FILE.png", conflicts_with_all = ["requests", "plan"])]
    pub draw: Option<PathBuf>,

    /// Print times and memory: on stderr, or as "stats" in the JSON
    #[arg(long, conflicts_with_all = ["requests", "plan"])]
    pub stats: bool,

    /// Print tokens and bytes that the request will take, and load no weights
    #[arg(long)]
    pub plan: bool,
}

/// Under which heading `--help` lists a flag.
fn heading(flag: &str) -> Option<&'static str> {
    match flag {
        "question" => None,
        "image" | "prompt" | "messages" | "requests" | "post_process" => Some("What is asked"),
        "model" | "adapter" | "device" | "dtype" | "quantize" => Some("Model"),
        "format" | "draw" | "log_probs" | "logits" | "stats" | "plan" => Some("Output"),
        _ => Some("How it is answered"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quantize {
    Int8,
    Int4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}
