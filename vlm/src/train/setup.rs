use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use vlm_core::checkpoint::{self, AdapterConfig, KeyMap, Layout};
use vlm_train::{LoraConfig, Selection, summary};

use super::Quantization;
use crate::{Error, Pretrained};

/// Where a run's weights come from.
#[derive(Clone, Debug)]
pub struct Start {
    /// Folder of the model, with its configuration and its processor.
    pub model: PathBuf,
    /// An adapter in PEFT's layout to go on from.
    pub adapter: Option<PathBuf>,
    /// A checkpoint of the same run to go on from.
    pub resume: Option<PathBuf>,
}

impl Start {
    /// Loads a model in order to train `selection`: that in 32 bits, the rest as `dtype`. Adapters that it goes
    /// on from are attached, and what they have whole is to learn, as in peft; the targets of fresh adapters are
    /// resolved to paths.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged, or a target of the adapters fits nothing.
    pub fn load(
        &self,
        selection: &mut Selection,
        dtype: FloatDType,
        quantization: Option<Quantization>,
        device: &Device,
        progress: impl FnMut(usize, usize),
    ) -> Result<Pretrained, Error> {
        let device = device.clone().inner();
        let lora = matches!(selection, Selection::Lora(_));
        let weights = match &self.resume {
            Some(resume) if !lora => resume,
            _ => &self.model,
        };
        let trains = |path: &str| selection.trains(path);
        let loaded =
            Pretrained::load_parts(&self.model, weights, dtype, trains, &device, progress)?;
        let Selection::Lora(config) = selection else {
            return Ok(loaded);
        };
        let keys = loaded.config.keys();
        let adaptable = |path: &str| adaptable(&keys, path);
        let mut loaded = loaded;
        if let Some(quantization) = quantization {
            loaded.model = quantization.apply(loaded.model, &keys);
        }
        match self.resume.as_ref().or(self.adapter.as_ref()) {
            Some(folder) => {
                let wide = FloatDType::F32;
                loaded.model = checkpoint::load_adapter(loaded.model, folder, &keys, wide)?;
                let adapter = AdapterConfig::from_folder(folder)?;
                let whole = |path: &str| {
                    let (key, _) = keys.key_of(path)?;
                    Some(adapter.is_whole(&keys.in_memory(&key)))
                };
                let paths = summary(&loaded.model, &Selection::All).into_iter();
                let paths = paths.map(|row| row.path);
                config
                    .whole
                    .extend(paths.filter(|path| whole(path) == Some(true)));
            }
            None => config.targets = config.modules(&loaded.model, adaptable)?,
        }
        Ok(loaded)
    }
}

/// What the reference calls the projection's weight that `path` is, or is a part of.
pub(super) fn adaptable(keys: &KeyMap, path: &str) -> Option<String> {
    match keys.key_of(path)? {
        (key, Layout::Transposed | Layout::Turns { .. }) => Some(keys.in_memory(&key)),
        _ => None,
    }
}

/// What an adapter in PEFT's layout says about itself.
///
/// # Errors
///
/// When `adapter_config.json` is missing or damaged, or asks for what is not supported.
pub fn lora_of_adapter(folder: &Path) -> Result<(AdapterConfig, LoraConfig), Error> {
    let config = AdapterConfig::from_folder(folder)?;
    let lora = LoraConfig {
        rank: config.r,
        alpha: config.lora_alpha,
        dropout: config.lora_dropout,
        targets: Vec::new(),
        whole: Vec::new(),
    };
    Ok((config, lora))
}
