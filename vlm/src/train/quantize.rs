use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{
        Tensor,
        quantization::{QuantScheme, QuantValue, ScaleDtype},
    },
};
use vlm_core::checkpoint::KeyMap;

use super::setup::adaptable;

/// How the frozen projections under adapters are packed: QLoRA
/// ([Dettmers et al. 2023](https://arxiv.org/abs/2305.14314)) with burn's symmetric integers in place of NF4.
///
/// All projections of the language model but its head are packed, in blocks of at most 64 values of an input
/// dimension that share a scale of 32 bits.
///
/// What it saves is what the weights take between their products: each is unpacked for its own, and what the
/// backward pass needs of them is kept unpacked until it is there. On the CPU, burn stores 4 bits in 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// 8 bits a value.
    Int8,
    /// 4 bits a value.
    Int4,
}

impl Quantization {
    /// Packs the projections of a model's decoder.
    pub fn apply<M: Module>(self, model: M, keys: &KeyMap) -> M {
        model.map(&mut Pack {
            path: Vec::new(),
            keys,
            value: match self {
                Self::Int8 => QuantValue::Q8S,
                Self::Int4 => QuantValue::Q4S,
            },
        })
    }
}

struct Pack<'a> {
    path: Vec<String>,
    keys: &'a KeyMap,
    value: QuantValue,
}

impl Pack<'_> {
    fn takes(&self, path: &str) -> bool {
        let elsewhere = ["encoder.", "projector."];
        !elsewhere.iter().any(|root| path.starts_with(root))
            && path.ends_with(".weight")
            && !path.ends_with("lm_head.weight")
            && adaptable(self.keys, path).is_some()
    }
}

impl ModuleMapper for Pack<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.takes(&self.path.join(".")) {
            return param;
        }
        let value = self.value;
        param.map(|weight| {
            let scheme = scheme(value, weight.dims()[0], &weight.device());
            weight.quantize_dynamic(&scheme)
        })
    }
}

fn scheme(value: QuantValue, inputs: usize, device: &burn::tensor::Device) -> QuantScheme {
    let block = (0..=6).rev().map(|power| 1_u8 << power);
    let block = block
        .into_iter()
        .find(|block| inputs.is_multiple_of(usize::from(*block)));
    let scheme = device.settings().quantization.scheme.with_value(value);
    scheme.per_block([block.unwrap_or(1), 1], ScaleDtype::F32)
}
