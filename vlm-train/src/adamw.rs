use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor, TensorData},
};
use vlm_kernels::AdamWStep;

use crate::{GradientSum, selection::leaf};

/// AdamW as torch's: beta1 0.9, epsilon 1e-8.
///
/// Each parameter is stepped by its path, so the state can be saved under names and parts can have learning
/// rates of their own. Biases and norms do not decay, as in transformers' trainer.
pub struct AdamW {
    weight_decay: f32,
    beta2: f32,
    states: BTreeMap<String, State>,
}

/// Steps seen, and the means of gradients and of their squares.
struct State {
    time: usize,
    means: [Tensor<1>; 2],
}

/// The optimizer's memory of one parameter.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Path of the parameter.
    pub path: String,
    /// Steps that it has seen.
    pub time: usize,
    /// The mean of gradients.
    pub first: TensorData,
    /// The mean of their squares.
    pub second: TensorData,
}

impl std::fmt::Debug for AdamW {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdamW {{ parameters: {} }}", self.states.len())
    }
}

impl AdamW {
    /// An optimizer that has seen nothing; `beta2` is the share of its memory of squares that a step keeps.
    pub fn new(weight_decay: f32, beta2: f32) -> Self {
        Self {
            weight_decay,
            beta2,
            states: BTreeMap::new(),
        }
    }

    /// One update; `learning_rate` tells the rate of a path.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: GradientSum,
        learning_rate: impl Fn(&str) -> f64,
    ) -> M {
        model.map(&mut Step {
            path: Vec::new(),
            optimizer: self,
            gradients,
            learning_rate,
        })
    }

    /// What has to be kept to go on later.
    pub fn moments(&self) -> Vec<Moments> {
        let moments = self.states.iter().map(|(path, state)| Moments {
            path: path.clone(),
            time: state.time,
            first: state.means[0].to_data(),
            second: state.means[1].to_data(),
        });
        moments.collect()
    }

    /// Goes on from what was kept.
    pub fn restore(&mut self, moments: Vec<Moments>, device: &Device) {
        let state = |moments: Moments| {
            let tensor = |data| Tensor::<1>::from_data(data, device);
            let state = State {
                time: moments.time,
                means: [tensor(moments.first), tensor(moments.second)],
            };
            (moments.path, state)
        };
        self.states = moments.into_iter().map(state).collect();
    }
}

/// Whether a parameter decays: no bias and no norm does.
fn decays(path: &str) -> bool {
    !path.ends_with("bias") && !path.split('.').any(|part| part.contains("norm"))
}

struct Step<'a, F> {
    path: Vec<String>,
    optimizer: &'a mut AdamW,
    gradients: GradientSum,
    learning_rate: F,
}

impl<F: Fn(&str) -> f64> ModuleMapper for Step<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let Some(gradient) = self.gradients.take(&path) else {
            return param;
        };
        param.map(|tensor| {
            let device = tensor.device();
            let shape = tensor.shape();
            let state = self.optimizer.states.remove(&path);
            let (before, means) = match state {
                Some(State { time, means }) => (time, Some(means)),
                None => (0, None),
            };
            let time = before + 1;
            let step = AdamWStep {
                learning_rate: (self.learning_rate)(&path),
                weight_decay: match decays(&path) {
                    true => self.optimizer.weight_decay,
                    false => 0.0,
                },
                betas: [0.9, self.optimizer.beta2],
                epsilon: 1e-8,
                time,
                scale: self.gradients.scale(),
            };
            let flat = tensor.inner().flatten(0, D - 1);
            let (flat, means) = step.apply(flat, gradient, means);
            let state = State { time, means };
            self.optimizer.states.insert(path.clone(), state);
            leaf(flat.reshape(shape), &device)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_and_norms_do_not_decay() {
        assert!(decays("decoder.layers.0.mlp.up_proj.weight"));
        assert!(!decays("decoder.layers.0.input_layernorm.weight"));
        assert!(!decays("decoder.norm.weight"));
        assert!(!decays("projector.mlp.up_proj.bias"));
    }
}
