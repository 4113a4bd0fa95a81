//! How the weights of a small model begin.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};

/// The standard deviation that the library's layers begin with, Hugging Face's: right for a width of 2,500.
const WIDE: f64 = 0.02;

/// Scales the weights of linear layers so that each keeps the size of what passes through it: `1/√inputs`, half of
/// that where a layer's output joins the residual stream. What is as wide as this model would begin a sixth as
/// large otherwise.
pub fn scaled<M: Module>(model: M) -> M {
    model.map(&mut Scale(Vec::new()))
}

/// Sines and cosines of row and column, so that neighbours are near each other before anything is learned.
///
/// # Shapes
/// - output: `[1 + side * side, hidden_size]`, nothing for the class token
pub fn positions(side: usize, hidden_size: usize) -> TensorData {
    const LARGEST: f32 = 0.3;
    const SLOWEST: f32 = 100.0;
    let waves = hidden_size / 4;
    let mut values = vec![0.0; hidden_size];
    for cell in 0..side * side {
        for place in [cell / side, cell % side] {
            let angle = |wave: usize| place as f32 / SLOWEST.powf(wave as f32 / waves as f32);
            values.extend((0..waves).map(|wave| LARGEST * angle(wave).sin()));
            values.extend((0..waves).map(|wave| LARGEST * angle(wave).cos()));
        }
    }
    TensorData::new(values, [1 + side * side, hidden_size])
}

struct Scale(Vec<String>);

impl ModuleMapper for Scale {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let has = |name: &str| self.0.iter().any(|part| part == name);
        if D != 2 || !has("weight") || has("embed_tokens") {
            return param;
        }
        let joins = ["o_proj", "out_proj", "down_proj", "fc2"]
            .into_iter()
            .any(has);
        let share = if joins { 0.5 } else { 1.0 };
        param.map(|weight| {
            let inputs = weight.dims()[0];
            weight * (share / (inputs as f64).sqrt() / WIDE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_nearer_than_what_is_far() {
        let values = positions(8, 32).try_into_vec::<f32>().unwrap();
        let distance = |a: usize, b: usize| -> f32 {
            let row = |cell: usize| &values[(cell + 1) * 32..(cell + 2) * 32];
            row(a)
                .iter()
                .zip(row(b))
                .map(|(a, b)| (a - b) * (a - b))
                .sum()
        };
        for other in [1, 8] {
            assert!(distance(0, other) < distance(0, 2 * other));
        }
        assert!(values[..32].iter().all(|value| *value == 0.0));
    }
}
