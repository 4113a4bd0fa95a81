use burn::tensor::Tensor;

/// A step of AdamW ([Loshchilov and Hutter 2019](https://arxiv.org/abs/1711.05101)), in one pass over memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// The learning rate.
    pub learning_rate: f64,
    /// Share of the learning rate by which the parameter shrinks.
    pub weight_decay: f32,
    /// How much of the mean of gradients, and of their squares, stays.
    pub betas: [f32; 2],
    /// Added to the root of the mean of squares.
    pub epsilon: f32,
    /// Number of the step, from 1.
    pub time: usize,
    /// Factor on the gradient.
    pub scale: f64,
}

impl AdamWStep {
    /// The parameter after the step, and the means of gradients and of their squares; these were zero where
    /// there are none.
    ///
    /// # Shapes
    /// - all: `[values]`
    ///
    /// # Panics
    ///
    /// When the lengths differ.
    pub fn apply(
        self,
        parameter: Tensor<1>,
        gradient: Tensor<1>,
        means: Option<[Tensor<1>; 2]>,
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        let means = means.unwrap_or_else(|| {
            let zeros = gradient.zeros_like();
            [zeros.clone(), zeros]
        });
        #[cfg(feature = "flex")]
        {
            let path = crate::Path::current();
            let [first, second] = &means;
            if crate::flex::steps(path, [&parameter, &gradient, first, second]) {
                return crate::flex::adamw(path, self, parameter, gradient, means);
            }
        }
        let gradient = match self.scale {
            1.0 => gradient,
            scale => gradient.mul_scalar(scale),
        };
        let [first, second] = means;
        let [beta_1, beta_2] = self.betas;
        let first = first.mul_scalar(beta_1) + gradient.clone().mul_scalar(1.0 - beta_1);
        let second = second.mul_scalar(beta_2) + gradient.square().mul_scalar(1.0 - beta_2);
        let [debias_1, debias_2] = self.debias();
        let root = second.clone().div_scalar(debias_2).sqrt();
        let update = first.clone().div_scalar(debias_1) / root.add_scalar(self.epsilon);
        let kept = 1.0 - self.learning_rate * f64::from(self.weight_decay);
        let parameter = parameter.mul_scalar(kept) - update.mul_scalar(self.learning_rate);
        (parameter, [first, second])
    }

    /// What the means, which began at zero, lack.
    pub(crate) fn debias(&self) -> [f32; 2] {
        let time = i32::try_from(self.time).unwrap_or(i32::MAX);
        self.betas.map(|beta| 1.0 - beta.powi(time))
    }
}

/// The sum of all squares, `[values] -> [1]`.
pub fn square_sum(x: &Tensor<1>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(sum) = crate::flex::square_sum(crate::Path::current(), x) {
        return sum;
    }
    x.clone().square().sum()
}
