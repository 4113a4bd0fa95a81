use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use vlm_core::VisionLanguageModel;

use crate::{FeatureCache, GradientSum, IGNORED, Loss, MicroBatch, cross_entropy, selection::leaf};

/// Rows whose scores over the vocabulary are held at once.
const ROWS: usize = 256;

/// Sums over learned positions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Of the loss.
    pub loss: f64,
    /// Of right predictions.
    pub correct: f64,
    /// Of the predictions' entropy.
    pub entropy: f64,
}

impl Sums {
    pub(crate) fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.entropy += other.entropy;
    }

    fn of(loss: &Loss) -> Self {
        let sums = vec![loss.sum.clone().inner(), loss.correct(), loss.entropy()];
        // Read at once: every read waits for the device.
        let sums: Vec<f64> = Tensor::cat(sums, 0).into_data().iter().collect();
        Self {
            loss: sums[0],
            correct: sums[1],
            entropy: sums[2],
        }
    }
}

/// What passes batches through a model on one device.
pub(crate) struct Pass<'a, M> {
    pub model: &'a M,
    /// Where inputs are made.
    pub device: &'a Device,
    /// Precision of pictures.
    pub dtype: DType,
    /// The device of what learns, with its way of checkpointing.
    pub learning: &'a Device,
    /// What the encoder made of pictures before.
    pub features: Option<&'a FeatureCache>,
}

impl<M: VisionLanguageModel> Pass<'_, M> {
    /// The sums over a batch, without learning.
    pub fn evaluate(&self, batch: &MicroBatch) -> Sums {
        let mut sums = Sums::default();
        let Some((rows, targets)) = self.labelled_rows(batch) else {
            return sums;
        };
        for (index, targets) in targets.chunks(ROWS).enumerate() {
            let first = index * ROWS;
            let rows = rows.clone().slice(first..first + targets.len());
            sums.add(Sums::of(&self.loss(rows, targets)));
        }
        sums
    }

    /// Adds a batch's gradients of the loss over `tokens` positions and returns the batch's sums.
    ///
    /// The graph is cut at the hidden states: the scores of some rows live only until their own gradient is
    /// there, and the model below is passed backwards once.
    pub fn backward(&self, batch: &MicroBatch, tokens: usize, gradients: &mut GradientSum) -> Sums {
        let mut sums = Sums::default();
        let Some((rows, targets)) = self.labelled_rows(batch) else {
            return sums;
        };
        let cut = rows.clone().inner();
        let mut row_gradients = Vec::new();
        for (index, targets) in targets.chunks(ROWS).enumerate() {
            let first = index * ROWS;
            let rows = cut.clone().slice(first..first + targets.len());
            let rows = leaf(rows, self.learning);
            let loss = self.loss(rows.clone(), targets);
            sums.add(Sums::of(&loss));
            let backward = loss.sum.div_scalar(tokens as f64).backward();
            gradients.add(self.model, &backward);
            row_gradients.extend(rows.grad(&backward).map(Tensor::inner));
        }
        if rows.is_autodiff() {
            let weights = Tensor::cat(row_gradients, 0);
            gradients.add(self.model, &(rows * weights).sum().backward());
        }
        sums
    }

    /// Hidden states of the positions that have something to predict, and what.
    fn labelled_rows(&self, batch: &MicroBatch) -> Option<(Tensor<2>, Vec<i64>)> {
        let targets = batch.targets();
        let labelled = targets.iter().enumerate();
        let labelled = labelled.filter(|(_, target)| **target != IGNORED);
        let (kept, targets): (Vec<i64>, Vec<i64>) =
            labelled.map(|(row, target)| (row as i64, *target)).unzip();
        if kept.is_empty() {
            return None;
        }
        let input = match self.features {
            None => batch.input(self.device, self.dtype),
            Some(cache) => {
                let images = cache.images(self.model, &batch.images(), self.device, self.dtype);
                batch.input_with(images, self.device)
            }
        };
        let hidden = self.model.forward(input, None);
        let [batch, seq, size] = hidden.dims();
        let kept = Tensor::<1, Int>::from_data(TensorData::from(&kept[..]), self.device);
        let rows = hidden.reshape([batch * seq, size]).select(0, kept);
        Some((rows, targets))
    }

    /// The loss of some rows of hidden states.
    fn loss(&self, rows: Tensor<2>, targets: &[i64]) -> Loss {
        let logits = self.model.logits(rows.unsqueeze::<3>());
        cross_entropy(logits.squeeze_dim::<2>(0).cast(FloatDType::F32), targets)
    }
}
