//! Kernels that have backward passes, for what learns in 32 bits on burn's `Flex` backend.
//!
//! Each is a step of burn's autodiff graph with a state of its own. Where gradients are checkpointed, burn's own
//! operations know better what to keep, and are taken.

mod activation;
mod attention;
mod linear;
mod norm;
mod rotate;
#[cfg(test)]
mod tests;

pub use activation::map;
pub use attention::attention;
pub use linear::linear;
pub use norm::norm;
pub use rotate::rotate;

use burn::{
    backend::{
        BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, TensorMetadata,
    },
    tensor::{DType, GradientCheckpointingStrategy, Tensor},
};
use burn_autodiff::{
    Autodiff,
    checkpoint::strategy::NoCheckpointing,
    ops::{Backward, NodeGuard, OpsKind},
};
use burn_flex::{Flex, FlexTensor};

use crate::Path;

/// A tensor with its place in the graph.
type Tracked = <Autodiff<Flex> as burn::backend::BackendTypes>::FloatTensorPrimitive;

const CONTEXT: DispatchAutodiffContext =
    DispatchAutodiffContext::Enabled(GradientCheckpointingStrategy::Disabled);

/// The tensor of 32 bits as `Flex` holds it under autodiff; what is plain is a constant. Nothing for other tensors.
fn tracked<const D: usize>(tensor: &Tensor<D>) -> Option<Tracked> {
    let DispatchTensor { kind, autodiff } = tensor.clone().into_dispatch();
    let tracked = match (kind, autodiff) {
        (DispatchTensorKind::Flex(BackendTensor::Float(tensor)), _) => Tracked::new(tensor),
        (DispatchTensorKind::Autodiff(kind), CONTEXT) => match *kind {
            DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor)) => tensor,
            _ => return None,
        },
        _ => return None,
    };
    (tracked.dtype() == DType::F32).then_some(tracked)
}

/// The tensors, where one at least is under autodiff and kernels may run.
fn operands<const N: usize>(path: Path, tensors: [Option<Tracked>; N]) -> Option<[Tracked; N]> {
    if path == Path::Default || tensors.iter().any(Option::is_none) {
        return None;
    }
    let tensors = tensors.map(|tensor| tensor.expect("looked at above"));
    tensors.iter().any(Tracked::is_tracked).then_some(tensors)
}

/// In the place of a bias that is not there.
fn nothing() -> Tracked {
    Tracked::new(FlexTensor::zeros([0].into(), DType::F32))
}

/// A tensor without its graph.
fn plain<const D: usize>(tensor: &Tracked) -> Tensor<D> {
    crate::flex::float(tensor.primitive().clone())
}

/// What a kernel made, as `Flex` holds it.
fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    crate::flex::plain(&tensor).expect("made by a kernel")
}

/// A tensor whose gradient goes through `step`.
fn output<const D: usize, const N: usize, B>(
    step: B,
    guards: [NodeGuard; N],
    state: B::State,
    output: FlexTensor,
) -> Tensor<D>
where
    B: Backward<Flex, N>,
{
    let steps = step.prepare::<NoCheckpointing>(guards);
    let tensor = match steps.compute_bound().stateful() {
        OpsKind::Tracked(steps) => steps.finish(state, output),
        OpsKind::UnTracked(steps) => steps.finish(output),
    };
    let kind = DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor));
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Autodiff(Box::new(kind)),
        autodiff: CONTEXT,
    })
}
