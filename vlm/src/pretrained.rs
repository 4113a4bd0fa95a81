use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use image::RgbImage;
use serde_json::json;
use vlm_chat_template::grounding::Grounding;
use vlm_core::{
    Size,
    checkpoint::{self, Checkpoint, Loader, Quantization},
};
use vlm_text::{GenerationConfig, generate};

use crate::{AnyConfig, AnyVlm, Error, Processor, Prompt, Request};

/// A model with its processor, as a checkpoint folder holds them.
#[derive(Debug)]
pub struct Pretrained {
    /// What `config.json` says.
    pub config: AnyConfig,
    /// The weights.
    pub model: AnyVlm,
    /// Tokenizer, chat template, image processor.
    pub processor: Processor,
    folder: PathBuf,
    device: Device,
    dtype: FloatDType,
}

/// Bytes of a shard at most, as transformers has it.
const MAX_SHARD_BYTES: usize = 5_000_000_000;

impl Pretrained {
    /// Loads a folder in Hugging Face layout, its weights as `dtype` onto `device`.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged, a key cannot be honoured, or weights and configuration do not fit.
    pub fn load(
        folder: impl AsRef<Path>,
        dtype: FloatDType,
        device: &Device,
    ) -> Result<Self, Error> {
        Self::load_with(folder, dtype, device, |_, _| {})
    }

    /// As [`load`](Self::load), telling the bytes read and the bytes in all after each tensor.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(
        folder: impl AsRef<Path>,
        dtype: FloatDType,
        device: &Device,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        Self::load_rounded(folder, dtype, None, device, progress)
    }

    /// As [`load_with`](Self::load_with), the weights of linear layers rounded as they are read. Such a model
    /// answers, takes adapters, and cannot be saved.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and when the device has no kernels for rounded weights: `flex` alone has.
    pub fn load_rounded(
        folder: impl AsRef<Path>,
        dtype: FloatDType,
        quantization: Option<Quantization>,
        device: &Device,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        if quantization.is_some() && !Quantization::runs_on(device) {
            let message = "quantisation: the device has no kernels for it, expected flex";
            return Err(Error::Usage(message.to_owned()));
        }
        let folder = folder.as_ref();
        let folders = [folder, folder];
        Self::read(folders, dtype, |_| false, quantization, device, progress)
    }

    /// As [`load_with`](Self::load_with), with the weights of another folder, those at the paths that `wide`
    /// picks in 32 bits: for training, where what learns needs them.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_parts(
        folder: &Path,
        weights: &Path,
        dtype: FloatDType,
        wide: impl Fn(&str) -> bool,
        device: &Device,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        Self::read([folder, weights], dtype, wide, None, device, progress)
    }

    fn read(
        [folder, weights]: [&Path; 2],
        dtype: FloatDType,
        wide: impl Fn(&str) -> bool,
        quantization: Option<Quantization>,
        device: &Device,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let mut config = AnyConfig::from_folder(folder)?;
        let processor = Processor::from_folder(folder, &config)?;
        let checkpoint = Checkpoint::open(weights)?;
        config.untie(&checkpoint)?;
        let keys = config.keys();
        let total = checkpoint.keys().map(|key| checkpoint.bytes(key)).sum();
        let mut read = 0;
        let model = Loader::new(&checkpoint, &keys, dtype)
            .with_wide(wide)
            .with_quantization(quantization)
            .with_progress(|bytes| {
                read += bytes;
                progress(read, total);
            })
            .load(config.init(device))?;
        Ok(Self {
            config,
            model,
            processor,
            folder: folder.to_path_buf(),
            device: device.clone(),
            dtype,
        })
    }

    /// Attaches a LoRA adapter in PEFT's layout; burn's `materialize` of [`model`](Self::model) merges it.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged, a key of the adapter is not supported, or it does not fit the model.
    pub fn with_adapter(mut self, folder: impl AsRef<Path>) -> Result<Self, Error> {
        let keys = self.config.keys();
        self.model = checkpoint::load_adapter(self.model, folder, &keys, self.dtype)?;
        Ok(self)
    }

    /// The checkpoint's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The precision of the weights.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// Tells of weights that have another precision now.
    #[cfg(feature = "train")]
    pub(crate) fn set_dtype(&mut self, dtype: FloatDType) {
        self.dtype = dtype;
    }

    /// Greedy generation of at most `max_new_tokens` that ends where the checkpoint says.
    ///
    /// # Errors
    ///
    /// When `generation_config.json` is damaged.
    pub fn generation_config(&self, max_new_tokens: usize) -> Result<GenerationConfig, Error> {
        Ok(GenerationConfig::new(max_new_tokens).with_ids_from(&self.folder)?)
    }

    /// Answers a question about pictures.
    ///
    /// # Errors
    ///
    /// When the model takes no pictures or the template refuses the question.
    pub fn ask(
        &self,
        question: &str,
        images: &[RgbImage],
        max_new_tokens: usize,
    ) -> Result<String, Error> {
        let prompt = Prompt::Question(question.to_owned());
        let request = self.processor.process(&prompt, images)?;
        let config = self.generation_config(max_new_tokens)?;
        let images = Request::images(
            std::slice::from_ref(&request),
            &self.device,
            self.dtype.into(),
        );
        let answers = generate(
            &self.model,
            &[request.sequence],
            images,
            &config,
            &self.device,
        )?;
        Ok(self.processor.tokenizer().decode(&answers[0].tokens))
    }

    /// What the tokens of an answer say about pictures of the given sizes; `None` where the family writes no
    /// markup, or where the markup is about a picture and there is none.
    ///
    /// # Errors
    ///
    /// As [`Family::grounding`](crate::Family::grounding).
    pub fn grounding(&self, tokens: &[u32], images: &[Size]) -> Result<Option<Grounding>, Error> {
        let tokenizer = self.processor.tokenizer();
        let text = self.config.decode(tokenizer, tokens, images);
        match self.config.grounding(&text, images) {
            Err(_) if images.is_empty() => Ok(None),
            grounding => Ok(grounding?),
        }
    }

    /// Writes a folder that [`load`](Self::load) and transformers read.
    ///
    /// # Errors
    ///
    /// When a file cannot be written, or weights were rounded at loading.
    ///
    /// # Panics
    ///
    /// When the model has adapters: merge them first with burn's `materialize`.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        self.save_model(&self.model, folder.as_ref())
    }

    /// As [`save`](Self::save), with another model in place of its own.
    pub(crate) fn save_model(&self, model: &AnyVlm, folder: &Path) -> Result<(), Error> {
        checkpoint::check_savable(model, folder)?;
        self.processor.save(folder)?;
        let mut config = self.config.to_hf()?;
        config["dtype"] = json!(match self.dtype {
            FloatDType::F16 => "float16",
            FloatDType::BF16 => "bfloat16",
            FloatDType::F64 => "float64",
            _ => "float32",
        });
        write_json(&folder.join("config.json"), &config)?;
        let generation = folder.join("generation_config.json");
        if !generation.is_file() {
            // The ids may have stood in config.json, which is written anew.
            let ids = self.generation_config(0)?;
            let value = match ids.eos_token_ids[..] {
                [] => json!({}),
                _ => json!({ "eos_token_id": ids.eos_token_ids }),
            };
            write_json(&generation, &value)?;
        }
        checkpoint::save(model, &self.config.keys(), folder, MAX_SHARD_BYTES)?;
        Ok(())
    }
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), vlm_core::Error> {
    let text = serde_json::to_string_pretty(value).map_err(vlm_core::Error::json(path))?;
    std::fs::write(path, text + "\n").map_err(vlm_core::Error::io(path))
}
