use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};

/// The label of a position that is not learned from.
pub const IGNORED: i64 = -100;

/// A loss over some positions: its sum and their number.
#[derive(Clone, Debug)]
pub struct Loss {
    /// `[1]`, the sum over the labelled positions.
    pub sum: Tensor<1>,
    /// How many positions are labelled.
    pub count: usize,
    // `[count, vocab]` without a graph, and `[count]`.
    log_probs: Tensor<2>,
    targets: Tensor<1, Int>,
}

impl Loss {
    /// The mean, 0 where nothing is labelled.
    pub fn mean(self) -> Tensor<1> {
        self.sum.div_scalar(self.count.max(1) as f64)
    }

    /// At how many positions the best token is the label, `[1]`: TRL's `mean_token_accuracy`, as a sum.
    pub fn correct(&self) -> Tensor<1> {
        let best = self.log_probs.clone().argmax(1).squeeze_dim::<1>(1);
        best.equal(self.targets.clone()).float().sum()
    }

    /// The summed entropy of the predictions in nats, `[1]`: TRL's `entropy`, as a sum.
    pub fn entropy(&self) -> Tensor<1> {
        let log_probs = self.log_probs.clone();
        (log_probs.clone().exp() * log_probs).sum().neg()
    }
}

/// Cross-entropy of the labelled rows; rows labelled [`IGNORED`] are dropped before the softmax.
///
/// # Shapes
/// - logits: `[rows, vocab]`
/// - labels: `[rows]`
///
/// # Panics
///
/// When the two differ in length, or a label is outside the vocabulary.
pub fn cross_entropy(logits: Tensor<2>, labels: &[i64]) -> Loss {
    let [rows, vocab] = logits.dims();
    assert_eq!(rows, labels.len(), "every row needs a label");
    let device = logits.device();
    let labelled = labels
        .iter()
        .enumerate()
        .filter(|(_, label)| **label != IGNORED);
    let (kept, targets): (Vec<i64>, Vec<i64>) =
        labelled.map(|(row, label)| (row as i64, *label)).unzip();
    assert!(
        targets
            .iter()
            .all(|target| (0..vocab as i64).contains(target)),
        "a label is outside the vocabulary of {vocab} tokens"
    );
    let count = kept.len();
    let ints =
        |values: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::from(&values[..]), &device);
    if count == 0 {
        // Keeps the graph, so that a step over nothing learns nothing instead of failing.
        let log_probs = logits.clone().inner().slice(0..0);
        return Loss {
            sum: logits.sum().mul_scalar(0.0),
            count,
            targets: ints(targets).inner(),
            log_probs,
        };
    }
    let log_probs = log_softmax(logits.select(0, ints(kept)), 1);
    let targets = ints(targets);
    let scores = log_probs
        .clone()
        .gather(1, targets.clone().reshape([count, 1]));
    Loss {
        sum: scores.sum().neg(),
        count,
        log_probs: log_probs.inner(),
        targets: targets.inner(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn ignored_rows_neither_count_nor_learn() {
        let device = Device::default().autodiff();
        let logits = Tensor::<2>::from_floats([[1.0, 2.0], [5.0, 3.0]], &device).require_grad();
        let loss = cross_entropy(logits.clone(), &[IGNORED, 1]);
        assert_eq!(loss.count, 1);
        let expected = (1.0 + 2f32.exp()).ln();
        let gradients = loss.sum.clone().backward();
        assert!((loss.sum.into_scalar::<f32>() - expected).abs() < 1e-5);
        let gradient = logits.grad(&gradients).unwrap().into_data();
        let gradient: Vec<f32> = gradient.try_into_vec().unwrap();
        assert_eq!(gradient[..2], [0.0, 0.0]);
        assert!((gradient[2] - 0.880_797).abs() < 1e-5);
    }

    #[test]
    fn nothing_labelled_gives_zero() {
        let logits = Tensor::<2>::from_floats([[1.0, 2.0]], &Device::default());
        let mean: f32 = cross_entropy(logits, &[IGNORED]).mean().into_scalar();
        assert_eq!(mean, 0.0);
    }

    #[test]
    fn accuracy_and_entropy_are_of_the_labelled_rows() {
        let device = Device::default();
        let logits = Tensor::<2>::from_floats([[9.0, 9.0], [0.0, 0.0], [1.0, 50.0]], &device);
        let loss = cross_entropy(logits, &[IGNORED, 1, 1]);
        let correct: f32 = loss.correct().into_scalar();
        let entropy: f32 = loss.entropy().into_scalar();
        // Of two equal scores the first is taken.
        assert_eq!(correct, 1.0);
        assert!((entropy - 2f32.ln()).abs() < 1e-6, "{entropy}");
    }
}
