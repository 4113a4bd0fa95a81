use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::{AdamW as Rule, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer},
    tensor::{Device, Tensor, TensorData},
};

use crate::{GradientSum, selection::leaf};

/// AdamW as torch's: beta1 0.9, epsilon 1e-8.
///
/// burn's rule (whose defaults differ) steps each parameter by its path, so the state can be saved under names
/// and parts can have learning rates of their own. Biases and norms do not decay, as in transformers' trainer.
pub struct AdamW {
    plain: Rule,
    decaying: Rule,
    states: BTreeMap<String, AdamWState<1>>,
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
        let rule = |decay| {
            let config = AdamWConfig::new().with_epsilon(1e-8).with_beta_2(beta2);
            config.with_weight_decay(decay).build()
        };
        Self {
            plain: rule(0.0),
            decaying: rule(weight_decay),
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
            time: state.momentum.time,
            first: state.momentum.moment_1.to_data(),
            second: state.momentum.moment_2.to_data(),
        });
        moments.collect()
    }

    /// Goes on from what was kept.
    pub fn restore(&mut self, moments: Vec<Moments>, device: &Device) {
        let state = |moments: Moments| {
            let tensor = |data| Tensor::<1>::from_data(data, device);
            let momentum = AdaptiveMomentumState::new(
                moments.time,
                tensor(moments.first),
                tensor(moments.second),
            );
            (moments.path, AdamWState::new(momentum))
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
            let rule = match decays(&path) {
                true => &self.optimizer.decaying,
                false => &self.optimizer.plain,
            };
            let flat = tensor.inner().flatten(0, D - 1);
            let (flat, state) = rule.step((self.learning_rate)(&path), flat, gradient, state);
            if let Some(state) = state {
                self.optimizer.states.insert(path.clone(), state);
            }
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
