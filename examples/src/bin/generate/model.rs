use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use indicatif::{ProgressBar, ProgressStyle};
use vlm::{Error, Pretrained, checkpoint::Quantization};

use crate::args::{Args, Dtype, Quantize};

pub fn dtype(dtype: Dtype) -> FloatDType {
    match dtype {
        Dtype::F32 => FloatDType::F32,
        Dtype::F16 => FloatDType::F16,
        Dtype::Bf16 => FloatDType::BF16,
    }
}

/// The folder of a model: itself, or what the hub has under its id.
pub fn folder(model: Option<&str>) -> Result<PathBuf, Error> {
    let Some(model) = model else {
        eprintln!(
            "no --model: the tiny untrained checkpoint of the tests answers, and its answer is noise"
        );
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vlm/tests/fixtures");
        return Ok(tests.join("llava/clip-llama"));
    };
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

pub fn load(
    folder: &Path,
    args: &Args,
    dtype: FloatDType,
    device: &Device,
) -> Result<Pretrained, Error> {
    let bar = bytes_bar("loading");
    let quantization = args.quantize.map(|quantize| match quantize {
        Quantize::Int8 => Quantization::Int8,
        Quantize::Int4 => Quantization::Int4,
    });
    let loaded = Pretrained::load_rounded(folder, dtype, quantization, device, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    match &args.adapter {
        Some(adapter) => loaded?.with_adapter(adapter),
        None => loaded,
    }
}

fn bytes_bar(what: &str) -> ProgressBar {
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0)
        .with_style(style)
        .with_message(what.to_owned())
}

pub fn sync(device: &Device) {
    // A device that cannot wait computes at once.
    let _ = device.sync();
}
