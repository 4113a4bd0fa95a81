use burn::tensor::Tensor;
use burn_autodiff::{
    checkpoint::base::Checkpointer,
    grads::Gradients,
    ops::{Backward, Ops},
};
use burn_flex::{Flex, FlexTensor};

use super::{nothing, operands, output, plain, primitive, tracked};
use crate::{
    Path,
    cpu::backward::norm as kernel,
    flex::{self, numbers},
};

/// A norm of the last dimension, or nothing where the kernel does not fit.
pub fn norm<const D: usize>(
    path: Path,
    centred: bool,
    x: &Tensor<D>,
    weight: &Tensor<1>,
    bias: Option<&Tensor<1>>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let has_bias = bias.is_some();
    let bias = bias.map_or_else(|| Some(nothing()), tracked);
    let [x, weight, bias] = operands(path, [tracked(x), tracked(weight), bias])?;
    let added = has_bias.then(|| plain(&bias));
    let y = flex::norm::<D>(
        path,
        centred,
        &plain(&x),
        &plain(&weight),
        added.as_ref(),
        epsilon,
    )?;
    let state = State {
        path,
        centred,
        epsilon: epsilon as f32,
        x: x.primitive().clone(),
        weight: weight.primitive().clone(),
    };
    let guards = [x.node(), weight.node(), bias.node()];
    Some(output(Norm, guards, state, primitive(y)))
}

#[derive(Debug)]
struct Norm;

#[derive(Clone, Debug)]
struct State {
    path: Path,
    centred: bool,
    epsilon: f32,
    x: FlexTensor,
    weight: FlexTensor,
}

impl Backward<Flex, 3> for Norm {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let state = ops.state;
        let [x, weight] = [state.x, state.weight].map(|tensor| tensor.to_contiguous());
        let norm = kernel::Norm {
            centred: state.centred,
            epsilon: state.epsilon,
            weight: numbers(&weight),
        };
        let mut dx = vec![0.0; x.layout().num_elements()];
        let sums = kernel::norm(state.path, norm, numbers(&x), numbers(&dy), &mut dx);
        let [node_x, node_weight, node_bias] = ops.parents;
        if let Some(node) = node_x {
            gradients.register::<Flex>(node.id, flex::tensor(dx, x.layout().shape().clone()));
        }
        let shape = weight.layout().shape();
        let (dw, db) = sums.split_at(shape.num_elements());
        for (node, sum) in [(node_weight, dw), (node_bias, db)] {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, flex::tensor(sum.to_vec(), shape.clone()));
            }
        }
    }
}
