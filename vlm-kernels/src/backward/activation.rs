use burn::tensor::Tensor;
use burn_autodiff::{
    checkpoint::base::Checkpointer,
    grads::Gradients,
    ops::{Backward, Ops},
};
use burn_flex::{Flex, FlexTensor};

use super::{operands, output, plain, primitive, tracked};
use crate::{
    Function, Path,
    cpu::backward::pointwise,
    flex::{self, numbers},
};

/// A function of every number, times `factor` where there is one, or nothing where the kernel does not fit.
pub fn map<const D: usize>(
    path: Path,
    function: Function,
    x: &Tensor<D>,
    factor: Option<&Tensor<D>>,
) -> Option<Tensor<D>> {
    let Some(factor) = factor else {
        let [x] = operands(path, [tracked(x)])?;
        let y = flex::map::<D>(path, function, &plain(&x), None)?;
        let state = (path, function, x.primitive().clone());
        return Some(output(Map, [x.node()], state, primitive(y)));
    };
    let [x, factor] = operands(path, [tracked(x), tracked(factor)])?;
    let y = flex::map::<D>(path, function, &plain(&x), Some(&plain(&factor)))?;
    let tensors = [x.primitive().clone(), factor.primitive().clone()];
    let guards = [x.node(), factor.node()];
    Some(output(
        Gate,
        guards,
        (path, function, tensors),
        primitive(y),
    ))
}

#[derive(Debug)]
struct Map;

impl Backward<Flex, 1> for Map {
    type State = (Path, Function, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (path, function, x) = ops.state;
        let x = x.to_contiguous();
        let mut dx = vec![0.0; x.layout().num_elements()];
        let numbers = [numbers(&x), numbers(&dy)];
        pointwise::map(path, function, numbers, &mut dx, None);
        let [node] = ops.parents;
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, flex::tensor(dx, x.layout().shape().clone()));
        }
    }
}

#[derive(Debug)]
struct Gate;

impl Backward<Flex, 2> for Gate {
    type State = (Path, Function, [FlexTensor; 2]);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (path, function, tensors) = ops.state;
        let [x, factor] = tensors.map(|tensor| tensor.to_contiguous());
        let shape = x.layout().shape().clone();
        let mut dx = vec![0.0; shape.num_elements()];
        let mut dfactor = vec![0.0; shape.num_elements()];
        let gate = Some((numbers(&factor), &mut dfactor[..]));
        pointwise::map(path, function, [numbers(&x), numbers(&dy)], &mut dx, gate);
        for (node, gradient) in ops.parents.into_iter().zip([dx, dfactor]) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, flex::tensor(gradient, shape.clone()));
            }
        }
    }
}
