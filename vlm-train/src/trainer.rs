use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use vlm_core::VisionLanguageModel;

use crate::{AdamW, GradientSum, IGNORED, MicroBatch, Schedule, cross_entropy, selection::leaf};

/// Rows whose scores over the vocabulary are held at once.
const ROWS: usize = 256;

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
    /// Gradients are scaled down to this common norm.
    pub max_grad_norm: f64,
    /// Random numbers of a step are a function of this and the step.
    pub seed: u64,
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
    dtype: DType,
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
}

impl<M: VisionLanguageModel> Trainer<M> {
    /// A trainer of a model that [`Selection::apply`](crate::Selection::apply) has prepared; inputs are made
    /// on `device`, the one without autodiff, in `dtype`.
    pub fn new(model: M, config: TrainerConfig, device: &Device, dtype: DType) -> Self {
        Self {
            optimizer: AdamW::new(config.weight_decay as f32),
            model,
            step: 0,
            config,
            device: device.clone().inner(),
            dtype,
        }
    }

    /// One step of the optimizer over all the micro-batches: the loss is the mean over all of their learned
    /// positions, however these are spread.
    pub fn step(&mut self, batches: &[MicroBatch]) -> StepReport {
        let tokens: usize = batches.iter().map(MicroBatch::tokens).sum();
        let rate = self.config.schedule.factor(self.step);
        self.device
            .seed(self.config.seed ^ (self.step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut gradients = GradientSum::default();
        let mut loss = 0.0;
        for batch in batches {
            loss += self.backward(batch, tokens, &mut gradients);
        }
        let grad_norm = gradients.clip(self.config.max_grad_norm);
        let projector = self.config.projector_learning_rate;
        let learning_rate = |path: &str| {
            rate * match projector {
                Some(projector) if path.starts_with("projector.") => projector,
                _ => self.config.learning_rate,
            }
        };
        self.model = self
            .optimizer
            .step(self.model.clone(), gradients, learning_rate);
        self.step += 1;
        StepReport {
            step: self.step,
            loss,
            learning_rate: rate * self.config.learning_rate,
            grad_norm,
            tokens,
        }
    }

    /// The mean loss over some batches, without learning.
    pub fn evaluate(&self, batches: &[MicroBatch]) -> f64 {
        let model = self.model.valid();
        let tokens: usize = batches.iter().map(MicroBatch::tokens).sum();
        let sum = |batch| {
            let Some((rows, targets)) = self.labelled_rows(&model, batch) else {
                return 0.0;
            };
            let sums = targets.chunks(ROWS).enumerate().map(|(index, targets)| {
                let first = index * ROWS;
                let rows = rows.clone().slice(first..first + targets.len());
                scalar(loss_of(&model, rows, targets))
            });
            sums.sum::<f64>()
        };
        batches.iter().map(sum).sum::<f64>() / tokens.max(1) as f64
    }

    /// Hidden states of the positions that have something to predict, and what.
    fn labelled_rows(&self, model: &M, batch: &MicroBatch) -> Option<(Tensor<2>, Vec<i64>)> {
        let targets = batch.targets();
        let labelled = targets.iter().enumerate();
        let labelled = labelled.filter(|(_, target)| **target != IGNORED);
        let (kept, targets): (Vec<i64>, Vec<i64>) =
            labelled.map(|(row, target)| (row as i64, *target)).unzip();
        if kept.is_empty() {
            return None;
        }
        let hidden = model.forward(batch.input(&self.device, self.dtype), None);
        let [batch, seq, size] = hidden.dims();
        let kept = Tensor::<1, Int>::from_data(TensorData::from(&kept[..]), &self.device);
        let rows = hidden.reshape([batch * seq, size]).select(0, kept);
        Some((rows, targets))
    }

    /// Adds a batch's gradients and returns its share of the loss.
    ///
    /// The graph is cut at the hidden states: the scores of some rows live only until their own gradient is
    /// there, and the model below is passed backwards once.
    fn backward(&self, batch: &MicroBatch, tokens: usize, gradients: &mut GradientSum) -> f64 {
        let Some((rows, targets)) = self.labelled_rows(&self.model, batch) else {
            return 0.0;
        };
        let like = rows.device();
        let cut = rows.clone().inner();
        let mut loss = 0.0;
        let mut row_gradients = Vec::new();
        for (index, targets) in targets.chunks(ROWS).enumerate() {
            let first = index * ROWS;
            let rows = leaf(cut.clone().slice(first..first + targets.len()), &like);
            let share = loss_of(&self.model, rows.clone(), targets).div_scalar(tokens as f64);
            loss += scalar(share.clone().inner());
            let backward = share.backward();
            gradients.add(&self.model, &backward);
            row_gradients.extend(rows.grad(&backward).map(Tensor::inner));
        }
        if rows.is_autodiff() {
            let weights = Tensor::cat(row_gradients, 0);
            gradients.add(&self.model, &(rows * weights).sum().backward());
        }
        loss
    }
}

/// The summed loss of some rows of hidden states.
fn loss_of(model: &impl VisionLanguageModel, rows: Tensor<2>, targets: &[i64]) -> Tensor<1> {
    let logits = model.logits(rows.unsqueeze::<3>()).squeeze_dim::<2>(0);
    cross_entropy(logits.cast(burn::tensor::FloatDType::F32), targets).sum
}

fn scalar(tensor: Tensor<1>) -> f64 {
    let value: f32 = tensor.into_scalar();
    f64::from(value)
}
