use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};
use vlm_kernels::square_sum;

/// Summed gradients of a model's parameters, by path, each flattened.
///
/// A parameter that the loss does not depend on has none, and an optimizer leaves it alone, as torch does.
#[derive(Debug)]
pub struct GradientSum {
    by_path: BTreeMap<String, Tensor<1>>,
    scale: f64,
}

impl Default for GradientSum {
    fn default() -> Self {
        Self {
            by_path: BTreeMap::new(),
            scale: 1.0,
        }
    }
}

impl GradientSum {
    /// Adds the gradients of one backward pass.
    pub fn add(&mut self, model: &impl Module, gradients: &Gradients) {
        model.visit(&mut Collect {
            path: Vec::new(),
            gradients,
            sum: self,
        });
    }

    /// Adds another sum, moved to `device`.
    pub fn merge(&mut self, other: Self, device: &Device) {
        for (path, gradient) in other.by_path {
            self.insert(path, on(gradient, device));
        }
    }

    fn insert(&mut self, path: String, gradient: Tensor<1>) {
        let sum = match self.by_path.remove(&path) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.by_path.insert(path, sum);
    }

    /// The square root of the sum of all squares: the norm that clipping is about.
    pub fn norm(&self) -> f64 {
        let squares = self.by_path.values();
        let squares: Vec<Tensor<1>> = squares.map(square_sum).collect();
        if squares.is_empty() {
            return 0.0;
        }
        // Read at once: every read waits for the device.
        let squares = Tensor::cat(squares, 0).into_data();
        self.scale * squares.iter::<f64>().sum::<f64>().sqrt()
    }

    /// Scales all gradients alike so that their common norm is at most `max_norm`, as torch's
    /// `clip_grad_norm_`, and returns the norm before. 0 leaves them as they are, as in transformers' trainer.
    pub fn clip(&mut self, max_norm: f64) -> f64 {
        let norm = self.norm();
        if max_norm <= 0.0 {
            return norm;
        }
        let scale = max_norm / (norm + 1e-6);
        if scale < 1.0 {
            self.scale *= scale;
        }
        norm
    }

    /// Factor on all gradients, which the optimizer applies: 1 until they are clipped.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Takes a parameter's gradient, to be multiplied by [`scale`](Self::scale).
    pub fn take(&mut self, path: &str) -> Option<Tensor<1>> {
        self.by_path.remove(path)
    }

    /// Whether nothing has a gradient.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}

/// `tensor` on another device, which may be of another backend.
pub(crate) fn on<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    match tensor.device() == *device {
        true => tensor,
        false => {
            let dtype = tensor.dtype();
            Tensor::from_data(tensor.into_data(), (device, dtype))
        }
    }
}

struct Collect<'a> {
    path: Vec<String>,
    gradients: &'a Gradients,
    sum: &'a mut GradientSum,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.base();
        if !tensor.is_autodiff() {
            return;
        }
        let Some(gradient) = tensor.grad(self.gradients) else {
            return;
        };
        let gradient = gradient.inner().flatten(0, D - 1);
        self.sum.insert(self.path.join("."), gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn clipping_is_by_the_norm_of_all() {
        let device = Device::default();
        let mut sum = GradientSum::default();
        for (path, value) in [("a", 3.0), ("b", 4.0)] {
            let gradient = Tensor::<1>::from_floats([value], &device);
            sum.by_path.insert(path.to_owned(), gradient);
        }
        assert!((sum.clip(1.0) - 5.0).abs() < 1e-6);
        assert!((sum.norm() - 1.0).abs() < 1e-5);
        let b: f32 = sum.take("b").unwrap().into_scalar();
        assert!((f64::from(b) * sum.scale() - 0.8).abs() < 1e-5);
    }
}
