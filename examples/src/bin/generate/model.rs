use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use examples::model::bytes_bar;
use vlm::{Error, Pretrained, checkpoint::Quantization};

use crate::args::{Args, Quantize};

/// The folder of a model: itself, what the hub has under its id, or the one that ships.
pub fn folder(model: Option<&str>) -> Result<PathBuf, Error> {
    match model {
        Some(model) => examples::model::folder(model),
        None => Ok(examples::shipped::folder()?),
    }
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

pub fn sync(device: &Device) {
    // A device that cannot wait computes at once.
    let _ = device.sync();
}
