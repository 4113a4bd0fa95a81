use burn::{
    backend::ops::FloatTensorOps,
    tensor::{Shape, Tensor},
};
use burn_autodiff::{
    checkpoint::base::Checkpointer,
    grads::Gradients,
    ops::{Backward, Ops},
};
use burn_flex::{Flex, FlexTensor};

use super::{nothing, operands, output, tracked};
use crate::{
    Path,
    cpu::backward::rows,
    flex::{self, numbers},
};

/// `x · weight + bias`, or nothing where the kernel does not fit.
pub fn linear<const D: usize>(
    path: Path,
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<D>> {
    let has_bias = bias.is_some();
    let bias = bias.map_or_else(|| Some(nothing()), tracked);
    let [x, weight, bias] = operands(path, [tracked(x), tracked(weight), bias])?;
    let mut shape = x.primitive().layout().shape().clone();
    let flat = flat(x.primitive());
    let mut y = Flex::float_matmul(flat.clone(), weight.primitive().clone());
    if has_bias {
        let bias = bias.primitive().to_contiguous();
        rows::add(path, numbers(&bias), y.storage_mut());
    }
    let last = shape.num_dims() - 1;
    shape[last] = weight.primitive().layout().shape()[1];
    let state = State {
        path,
        x: weight.is_tracked().then_some(flat),
        weight: x.is_tracked().then(|| weight.primitive().clone()),
        shape: x.primitive().layout().shape().clone(),
    };
    let guards = [x.node(), weight.node(), bias.node()];
    Some(output(Linear, guards, state, y.reshape(shape)))
}

/// All dimensions but the last as one.
fn flat(x: &FlexTensor) -> FlexTensor {
    let shape = x.layout().shape();
    let last = shape[shape.num_dims() - 1];
    let rows: usize = shape.num_elements() / last.max(1);
    x.reshape(Shape::from(vec![rows, last]))
}

#[derive(Debug)]
struct Linear;

#[derive(Clone, Debug)]
struct State {
    path: Path,
    /// Where the weight learns.
    x: Option<FlexTensor>,
    /// Where `x` has a gradient.
    weight: Option<FlexTensor>,
    shape: Shape,
}

impl Backward<Flex, 3> for Linear {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = flat(&gradients.consume::<Flex>(&ops.node)).to_contiguous();
        let state = ops.state;
        let [node_x, node_weight, node_bias] = ops.parents;
        if let (Some(node), Some(weight)) = (node_x, state.weight) {
            let dx = Flex::float_matmul(dy.clone(), weight.transpose(0, 1));
            gradients.register::<Flex>(node.id, dx.reshape(state.shape));
        }
        if let (Some(node), Some(x)) = (node_weight, state.x) {
            let dw = Flex::float_matmul(x.transpose(0, 1), dy.clone());
            gradients.register::<Flex>(node.id, dw);
        }
        if let Some(node) = node_bias {
            let columns = dy.layout().shape()[1];
            let sum = rows::sum(state.path, numbers(&dy), columns);
            gradients.register::<Flex>(node.id, flex::tensor(sum, [columns].into()));
        }
    }
}
