use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{DType, Device, FloatDType, Tensor},
};
use vlm_core::{
    Error, ImageBatch, Images, ProcessedImage, VisionLanguageModel,
    checkpoint::{Checkpoint, save_tensors},
};

/// What a frozen image encoder makes of pictures, kept on the disk over passes and runs.
///
/// ```text
/// folder / <the encoder's weights> / <the picture's pixels>.safetensors
/// ```
///
/// Both names are checksums, so that another encoder or another way of preprocessing finds nothing. A file that is
/// broken or cannot be written costs nothing but the work that it would have saved. Pictures are encoded one
/// by one, so that features do not depend on the batch in which a picture is first seen.
#[derive(Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    // One file is written at a time: devices may come to the same picture at once.
    writing: Mutex<()>,
}

/// Name of the tensor in a file.
const KEY: &str = "features";

impl FeatureCache {
    /// A cache for a model's encoder, whose parameters' paths begin with `encoder.`.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, the model has no encoder, or the encoder learns: `trains` tells of a path.
    pub fn open(
        folder: &Path,
        model: &impl Module,
        trains: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let mut encoder = Encoder {
            path: Vec::new(),
            trains,
            learns: false,
            checksum: None,
        };
        model.visit(&mut encoder);
        let refuse = |message: &str| {
            Err(Error::file(
                folder,
                format!("features cannot be kept here: {message}"),
            ))
        };
        if encoder.learns {
            return refuse("the image encoder learns");
        }
        let Some(checksum) = encoder.checksum else {
            return refuse("the model has no image encoder");
        };
        let folder = folder.join(format!("{checksum:032x}"));
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(Self {
            folder,
            writing: Mutex::new(()),
        })
    }

    /// The features of some pictures, one after the other; `None` for none.
    ///
    /// # Panics
    ///
    /// When the model has no encoder.
    pub fn images(
        &self,
        model: &impl VisionLanguageModel,
        images: &[&ProcessedImage],
        device: &Device,
        dtype: DType,
    ) -> Option<Images> {
        let features = images
            .iter()
            .map(|image| self.features(model, image, device, dtype));
        let features: Vec<Tensor<3>> = features.collect();
        let tokens = features.iter().map(|one| one.dims()[1]).max()?;
        // Tokens of smaller crops come first, and nothing reads what stands after them.
        let features = features.into_iter().map(|one| {
            let [crops, own, size] = one.dims();
            match tokens - own {
                0 => one,
                rest => {
                    let rest = Tensor::zeros([crops, rest, size], (device, one.dtype()));
                    Tensor::cat(vec![one, rest], 1)
                }
            }
        });
        Some(Images::Features(Tensor::cat(features.collect(), 0)))
    }

    fn features(
        &self,
        model: &impl VisionLanguageModel,
        image: &ProcessedImage,
        device: &Device,
        dtype: DType,
    ) -> Tensor<3> {
        let file = self
            .folder
            .join(format!("{:032x}.safetensors", checksum_of(image, dtype)));
        if let Some(kept) = read(&file, device, dtype) {
            return kept;
        }
        let batch = ImageBatch::new([image], device, dtype);
        let features = model
            .image_features(&batch)
            .expect("the cache was opened for a model with an encoder")
            .cast(FloatDType::from(dtype));
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = save_tensors([(KEY.to_owned(), features.to_data())], &file);
        features
    }
}

fn read(file: &Path, device: &Device, dtype: DType) -> Option<Tensor<3>> {
    if !file.exists() {
        return None;
    }
    let file = Checkpoint::open_file(file).ok()?;
    let data = file.read(KEY, FloatDType::from(dtype)).ok()?;
    (data.shape().len() == 3).then(|| Tensor::from_data(data, (device, dtype)))
}

fn checksum_of(image: &ProcessedImage, dtype: DType) -> u128 {
    let layout = format!("{:?} {dtype:?}", image.layout);
    let mut checksum = Checksum::default();
    checksum.add(layout.as_bytes());
    for chunk in image.pixels.chunks(4096) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
        checksum.add(&bytes);
    }
    checksum.0
}

/// FNV-1a of 128 bits over words of 64.
struct Checksum(u128);

impl Default for Checksum {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.0 ^= u128::from(u64::from_le_bytes(padded));
            self.0 = self
                .0
                .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

struct Encoder<F> {
    path: Vec<String>,
    trains: F,
    learns: bool,
    checksum: Option<u128>,
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Encoder<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if !path.starts_with("encoder.") {
            return;
        }
        self.learns |= (self.trains)(&path);
        if self.learns {
            return;
        }
        let mut checksum = Checksum(self.checksum.unwrap_or(Checksum::default().0));
        checksum.add(path.as_bytes());
        checksum.add(param.base().into_data().as_bytes());
        self.checksum = Some(checksum.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_words_counts() {
        let of = |bytes: &[u8]| {
            let mut checksum = Checksum::default();
            checksum.add(bytes);
            checksum.0
        };
        let (one, other) = ([1; 8], [2; 8]);
        assert_ne!(of(&[one, other].concat()), of(&[other, one].concat()));
        assert_ne!(of(&one), of(&one[..7]));
    }
}
