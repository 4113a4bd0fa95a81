use burn::tensor::{DType, Device};
use vlm_core::VisionLanguageModel;

use crate::{
    AdamW, FeatureCache, GradientSum, MicroBatch, Schedule,
    devices::{Learned, Replica},
    pass::{Pass, Sums},
};

/// How a run learns.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerConfig {
    /// The highest learning rate.
    pub learning_rate: f64,
    /// That of the projector, where it has one of its own.
    pub projector_learning_rate: Option<f64>,
    /// How the learning rates change.
    pub schedule: Schedule,
    /// Decay of the weights, without biases and norms.
    pub weight_decay: f64,
    /// Share of the optimizer's memory of squared gradients that a step keeps, torch's 0.999 as a rule.
    pub adam_beta2: f64,
    /// Gradients are scaled down to this common norm; 0 leaves them as they are.
    pub max_grad_norm: f64,
    /// Random numbers of a step are a function of this and the step.
    pub seed: u64,
}

impl TrainerConfig {
    /// The highest learning rate of the parameter at `path`.
    pub fn learning_rate_of(&self, path: &str) -> f64 {
        match self.projector_learning_rate {
            Some(rate) if path.starts_with("projector.") => rate,
            _ => self.learning_rate,
        }
    }
}

/// A model that learns, step by step.
///
/// A plain loop over burn's autodiff and optimizer: burn-train's gradient accumulation sums micro-batches that
/// do not know each other's token counts, clips tensor by tensor and saves once an epoch, so nothing of its
/// loop would be left.
#[derive(Debug)]
pub struct Trainer<M> {
    /// The model.
    pub model: M,
    /// Its optimizer.
    pub optimizer: AdamW,
    /// Steps done.
    pub step: usize,
    config: TrainerConfig,
    device: Device,
    learning: Device,
    dtype: DType,
    replicas: Vec<Replica<M>>,
    features: Option<FeatureCache>,
}

/// What a step tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: usize,
    /// Mean over the learned positions, before the update.
    pub loss: f64,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// Common norm of the gradients, before clipping.
    pub grad_norm: f64,
    /// Learned positions.
    pub tokens: usize,
    /// Share of the learned positions at which the best token is the label.
    pub token_accuracy: f64,
    /// Mean entropy of the predictions at the learned positions, in nats.
    pub entropy: f64,
}

/// What an evaluation tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean over the labelled positions.
    pub loss: f64,
    /// Labelled positions.
    pub tokens: usize,
    /// Share of them at which the best token is the label.
    pub token_accuracy: f64,
}

impl Evaluation {
    /// An evaluation of nothing.
    pub const NOTHING: Self = Self {
        loss: 0.0,
        tokens: 0,
        token_accuracy: 0.0,
    };

    /// That of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let tokens = self.tokens + other.tokens;
        let mean = |mine: f64, theirs: f64| {
            let sum = mine * self.tokens as f64 + theirs * other.tokens as f64;
            sum / tokens.max(1) as f64
        };
        Self {
            loss: mean(self.loss, other.loss),
            tokens,
            token_accuracy: mean(self.token_accuracy, other.token_accuracy),
        }
    }
}

impl<M: VisionLanguageModel> Trainer<M> {
    /// A trainer of a model that [`Selection::apply`](crate::Selection::apply) has prepared; inputs are made
    /// on `device`, the one without autodiff, pictures in `dtype`.
    pub fn new(model: M, config: TrainerConfig, device: &Device, dtype: DType) -> Self {
        let device = device.clone().inner();
        let learning = Learned::of(&model).device;
        Self {
            optimizer: AdamW::new(config.weight_decay as f32, config.adam_beta2 as f32),
            model,
            step: 0,
            config,
            learning: learning.unwrap_or_else(|| device.clone().autodiff()),
            device,
            dtype,
            replicas: Vec::new(),
            features: None,
        }
    }

    /// Keeps what the frozen image encoder makes of pictures in a folder, and takes it from there.
    #[must_use]
    pub fn with_features(mut self, cache: FeatureCache) -> Self {
        self.features = Some(cache);
        self
    }

    /// Spreads the micro-batches of each step over these devices, too; each gets a copy of the model.
    ///
    /// Random numbers of devices that share a generator are not the same at each run.
    #[must_use]
    pub fn with_devices(mut self, devices: &[Device]) -> Self {
        let replica = |device| Replica::new(&self.model, device, &self.learning);
        self.replicas = devices.iter().map(replica).collect();
        self
    }

    /// How it learns.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// One step of the optimizer over all the micro-batches: the loss is the mean over all of their learned
    /// positions, however these are spread.
    pub fn step(&mut self, batches: &[MicroBatch]) -> StepReport {
        let tokens: usize = batches.iter().map(MicroBatch::tokens).sum();
        let rate = self.config.schedule.factor(self.step);
        for (index, device) in self.devices().enumerate() {
            device.seed(mix(self.config.seed, self.step, index));
        }
        let (sums, mut gradients) = self.gradients(batches, tokens);
        let grad_norm = gradients.clip(self.config.max_grad_norm);
        let learning_rate = |path: &str| rate * self.config.learning_rate_of(path);
        self.model = self
            .optimizer
            .step(self.model.clone(), gradients, learning_rate);
        if !self.replicas.is_empty() {
            let learned = Learned::of(&self.model);
            for replica in &mut self.replicas {
                replica.follow(&learned);
            }
        }
        self.step += 1;
        let mean = |sum: f64| sum / tokens.max(1) as f64;
        StepReport {
            step: self.step,
            loss: mean(sums.loss),
            learning_rate: rate * self.config.learning_rate,
            grad_norm,
            tokens,
            token_accuracy: mean(sums.correct),
            entropy: mean(sums.entropy),
        }
    }

    /// The mean loss over some batches, without learning.
    pub fn evaluate(&self, batches: &[MicroBatch]) -> Evaluation {
        let model = self.model.valid();
        let tokens: usize = batches.iter().map(MicroBatch::tokens).sum();
        let pass = Pass {
            model: &model,
            ..self.pass()
        };
        let mut sums = Sums::default();
        for batch in batches {
            sums.add(pass.evaluate(batch));
        }
        let mean = |sum: f64| sum / tokens.max(1) as f64;
        Evaluation {
            loss: mean(sums.loss),
            tokens,
            token_accuracy: mean(sums.correct),
        }
    }

    fn devices(&self) -> impl Iterator<Item = &Device> {
        let others = self.replicas.iter().map(|replica| &replica.device);
        std::iter::once(&self.device).chain(others)
    }

    fn pass(&self) -> Pass<'_, M> {
        Pass {
            model: &self.model,
            device: &self.device,
            dtype: self.dtype,
            learning: &self.learning,
            features: self.features.as_ref(),
        }
    }

    /// Sums and gradients of all batches; each device takes every so-manieth.
    fn gradients(&mut self, batches: &[MicroBatch], tokens: usize) -> (Sums, GradientSum) {
        let count = self.replicas.len() + 1;
        let dtype = self.dtype;
        let mut replicas = std::mem::take(&mut self.replicas);
        let first = self.pass();
        let features = first.features;
        let (sums, gradients) = std::thread::scope(|scope| {
            let others = replicas.iter_mut().enumerate().map(|(index, replica)| {
                scope.spawn(move || {
                    let pass = Pass {
                        model: &replica.model,
                        device: &replica.device,
                        dtype,
                        learning: &replica.learning,
                        features,
                    };
                    share(&pass, batches, index + 1, count, tokens)
                })
            });
            // Collected, so that all run while this thread does its own share.
            let others: Vec<_> = others.collect();
            let (mut sums, mut gradients) = share(&first, batches, 0, count, tokens);
            for other in others {
                let (other, found) = match other.join() {
                    Ok(done) => done,
                    Err(panic) => std::panic::resume_unwind(panic),
                };
                sums.add(other);
                gradients.merge(found, first.device);
            }
            (sums, gradients)
        });
        self.replicas = replicas;
        (sums, gradients)
    }
}

fn share<M: VisionLanguageModel>(
    pass: &Pass<'_, M>,
    batches: &[MicroBatch],
    index: usize,
    count: usize,
    tokens: usize,
) -> (Sums, GradientSum) {
    let mut sums = Sums::default();
    let mut gradients = GradientSum::default();
    for batch in batches.iter().skip(index).step_by(count) {
        sums.add(pass.backward(batch, tokens, &mut gradients));
    }
    (sums, gradients)
}

/// Where the random numbers of a step begin on a device.
fn mix(seed: u64, step: usize, device: usize) -> u64 {
    let step = (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    seed ^ step ^ (device as u64).wrapping_mul(0xd1b5_4a32_d192_ed03)
}
