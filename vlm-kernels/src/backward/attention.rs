use burn::{
    backend::{BackendTensor, DispatchTensorKind},
    tensor::{Bool, Tensor},
};
use burn_autodiff::{
    checkpoint::base::Checkpointer,
    grads::Gradients,
    ops::{Backward, Ops},
};
use burn_flex::{Flex, FlexTensor};

use super::{
    operands, output, plain, primitive,
    rotate::{by_position, line_up},
    tracked,
};
use crate::{
    Path,
    cpu::{attention::Hidden, backward::attention as kernel},
    flex::{self, heads},
};

/// Attention, or nothing where the kernel does not fit.
pub fn attention(
    path: Path,
    query: &Tensor<4>,
    key: &Tensor<4>,
    value: &Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
    causal: bool,
) -> Option<Tensor<4>> {
    let tensors = operands(path, [tracked(query), tracked(key), tracked(value)])?;
    let mask = match hidden {
        None => None,
        Some(hidden) => Some(bools(hidden)?),
    };
    let [query, key, value] = tensors.each_ref().map(plain::<4>);
    // The kernel takes a mask that is not under autodiff.
    let hidden = mask.clone().map(Tensor::from_primitive::<Flex>);
    let y = flex::attention(path, &query, &key, &value, hidden.as_ref(), causal)?;
    let state = State {
        path,
        tensors: tensors.each_ref().map(|tensor| tensor.primitive().clone()),
        mask,
        causal,
    };
    let guards = tensors.each_ref().map(|tensor| tensor.node());
    Some(output(Attention, guards, state, primitive(y)))
}

fn bools(mask: &Tensor<4, Bool>) -> Option<FlexTensor> {
    let kind = match mask.clone().into_dispatch().kind {
        DispatchTensorKind::Autodiff(kind) => *kind,
        kind => kind,
    };
    match kind {
        DispatchTensorKind::Flex(BackendTensor::Bool(mask)) => Some(mask.to_contiguous()),
        _ => None,
    }
}

#[derive(Debug)]
struct Attention;

#[derive(Clone, Debug)]
struct State {
    path: Path,
    tensors: [FlexTensor; 3],
    mask: Option<FlexTensor>,
    causal: bool,
}

impl Backward<Flex, 3> for Attention {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let grad = line_up(&gradients.consume::<Flex>(&ops.node));
        let State {
            path,
            tensors,
            mask,
            causal,
        } = ops.state;
        let tensors = tensors.each_ref().map(line_up);
        let [query, key, value] = tensors.each_ref().map(heads::<f32>);
        let hidden = Hidden {
            mask: mask.as_ref().map(|mask| {
                let begin = mask.layout().start_offset();
                &mask.storage::<u8>()[begin..begin + mask.layout().num_elements()]
            }),
            by_batch: mask
                .as_ref()
                .is_some_and(|mask| mask.layout().shape()[0] > 1),
            causal,
        };
        let mut found = tensors
            .each_ref()
            .map(|tensor| vec![0.0; tensor.layout().num_elements()]);
        let operands = [query, key, value, heads::<f32>(&grad)];
        kernel::attention(path, operands, hidden, found.each_mut().map(|x| &mut x[..]));
        let dims = [query.dims, key.dims, value.dims];
        for ((node, values), dims) in ops.parents.into_iter().zip(found).zip(dims) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, by_position(values, dims));
            }
        }
    }
}
