//! Folders of models, downloads, progress bars.

use std::path::PathBuf;

use burn::tensor::FloatDType;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use vlm::Error;

/// Precision of weights, as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits of IEEE.
    F16,
    /// 16 bits with the range of 32.
    Bf16,
}

impl Dtype {
    /// burn's name of it.
    pub fn float(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::F16 => FloatDType::F16,
            Self::Bf16 => FloatDType::BF16,
        }
    }
}

/// The folder of a model: itself, or what the hub has under its id.
///
/// # Errors
///
/// When it is neither, or cannot be downloaded.
pub fn folder(model: &str) -> Result<PathBuf, Error> {
    let folder = PathBuf::from(model);
    if folder.is_dir() {
        return Ok(folder);
    }
    let parts: Vec<&str> = model.split('/').collect();
    let looks_like_id = matches!(parts[..], [owner, name] if !owner.is_empty() && !name.is_empty())
        && !model.starts_with(['.', '~']);
    if !looks_like_id {
        let message = format!("--model {model}: neither a folder nor a hub id (owner/name)");
        return Err(Error::Usage(message));
    }
    download(model)
}

#[cfg(feature = "hub")]
fn download(id: &str) -> Result<PathBuf, Error> {
    let bar = bytes_bar(&format!("downloading {id}"));
    let shown = bar.clone();
    let tell = std::sync::Arc::new(move |done, total| {
        shown.set_length(total);
        shown.set_position(done);
    });
    let folder = vlm::download(id, Some(tell));
    bar.finish_and_clear();
    folder
}

#[cfg(not(feature = "hub"))]
fn download(id: &str) -> Result<PathBuf, Error> {
    Err(Error::Usage(format!(
        "--model {id}: no such folder, and this program was built without `--features hub`"
    )))
}

/// A bar of bytes on stderr.
pub fn bytes_bar(what: &str) -> ProgressBar {
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0)
        .with_style(style)
        .with_message(what.to_owned())
}
