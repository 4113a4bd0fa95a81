use std::path::{Path, PathBuf};

use burn::{
    module::Module,
    tensor::{DType, Device, FloatDType},
};
use vlm_core::checkpoint::{self, AdapterConfig};
use vlm_train::{
    FeatureCache, LoraConfig, ParameterRow, RunState, Selection, Trainer, TrainerConfig, folder,
    summary,
};

use crate::{AnyVlm, Error, Pretrained};

/// What a run does with a loaded checkpoint.
#[derive(Clone, Debug)]
pub struct FinetuneConfig {
    /// What learns.
    pub selection: Selection,
    /// How it learns.
    pub trainer: TrainerConfig,
    /// Whether burn computes results of cheap operations anew in the backward pass in place of keeping them.
    pub gradient_checkpointing: bool,
    /// Folder in which features of the frozen image encoder are kept over the passes.
    pub features: Option<PathBuf>,
    /// Devices that share the work with the model's own.
    pub devices: Vec<Device>,
    /// What the model that is trained is called: its folder or its id on the hub.
    pub base: String,
    /// What the adapter that the run began with says about itself.
    pub adapter: Option<AdapterConfig>,
}

/// A checkpoint that is being trained.
#[derive(Debug)]
pub struct Finetune {
    /// The model that learns.
    pub trainer: Trainer<AnyVlm>,
    /// How it goes back to files.
    pub saver: Saver,
}

/// What writes a trainer's model to files.
///
/// Without adapters a saved folder is a whole checkpoint, which [`Pretrained::load`] and transformers read: what
/// learns in 32 bits, the rest as it was loaded. With adapters it is a folder in PEFT's layout.
#[derive(Debug)]
pub struct Saver {
    // Its model has no weights.
    shell: Pretrained,
    config: FinetuneConfig,
}

impl Finetune {
    /// Makes a trainer of a model that [`Start::load`](super::Start::load) gave; fresh adapters are drawn from
    /// the seed.
    ///
    /// # Errors
    ///
    /// When nothing is selected for training, or features are to be kept of an encoder that learns.
    pub fn new(mut pretrained: Pretrained, config: FinetuneConfig) -> Result<Self, Error> {
        let device = pretrained.device().clone();
        // Lazy: its weights are never made.
        let empty = pretrained.config.init(&device);
        let model = std::mem::replace(&mut pretrained.model, empty);
        device.seed(config.trainer.seed);
        let model = config
            .selection
            .apply(model, config.gradient_checkpointing)?;
        let dtype = match config.selection.trains("encoder.patches") {
            true => DType::F32,
            false => pretrained.dtype().into(),
        };
        if summary(&model, &config.selection)
            .iter()
            .all(|row| row.trains)
        {
            pretrained.set_dtype(FloatDType::F32);
        }
        let cache = match &config.features {
            None => None,
            Some(folder) => {
                let trains = |path: &str| config.selection.trains(path);
                Some(FeatureCache::open(folder, &model, trains)?)
            }
        };
        let mut trainer = Trainer::new(model, config.trainer.clone(), &device, dtype)
            .with_devices(&config.devices);
        if let Some(cache) = cache {
            trainer = trainer.with_features(cache);
        }
        let saver = Saver {
            shell: pretrained,
            config,
        };
        Ok(Self { trainer, saver })
    }

    /// Every parameter with its size and whether it learns.
    pub fn parameters(&self) -> Vec<ParameterRow> {
        summary(&self.trainer.model, &self.saver.config.selection)
    }

    /// Takes over the optimizer's memory and the step of a checkpoint, whose weights
    /// [`Start::load`](super::Start::load) has loaded.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged.
    pub fn resume(&mut self, state: &RunState, folder: &Path) -> Result<(), Error> {
        let device = self.saver.shell.device();
        state.restore(&mut self.trainer.optimizer, folder, device)?;
        self.trainer.step = state.step;
        Ok(())
    }
}

impl Saver {
    /// Writes what was trained: an adapter, or a whole checkpoint.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, trainer: &Trainer<AnyVlm>, folder: &Path) -> Result<(), Error> {
        let model = trainer.model.valid();
        let Selection::Lora(lora) = &self.config.selection else {
            return self.shell.save_model(&model, folder);
        };
        let adapter = match &self.config.adapter {
            Some(adapter) => adapter.clone(),
            None => fresh(lora),
        };
        let adapter = AdapterConfig {
            base_model_name_or_path: Some(self.config.base.clone()),
            inference_mode: true,
            modules_to_save: None,
            ..adapter
        };
        let keys = self.shell.config.keys();
        let whole = |path: &str| lora.is_whole(path);
        Ok(checkpoint::save_adapter(
            &model, &keys, folder, adapter, whole,
        )?)
    }

    /// Publishes `output/checkpoint-N`: what was trained, the optimizer's memory and the state. Then only this
    /// checkpoint and the best one stay.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn checkpoint(
        &self,
        trainer: &Trainer<AnyVlm>,
        output: &Path,
        state: &RunState,
    ) -> Result<(), Error> {
        folder::publish(&folder::checkpoint(output, state.step), |building| {
            self.save(trainer, building)?;
            Ok::<(), Error>(state.save(&trainer.optimizer, building)?)
        })?;
        let best = state.best.map(|best| best.step);
        let kept: Vec<usize> = [Some(state.step), best].into_iter().flatten().collect();
        Ok(folder::keep(output, &kept)?)
    }
}

/// The configuration of adapters that began here.
fn fresh(lora: &LoraConfig) -> AdapterConfig {
    AdapterConfig {
        lora_dropout: lora.dropout,
        ..AdapterConfig::new(lora.rank, lora.alpha, Vec::<String>::new())
    }
}
