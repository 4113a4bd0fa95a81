use burn::tensor::{Shape, Tensor};
use burn_autodiff::{
    checkpoint::base::Checkpointer,
    grads::Gradients,
    ops::{Backward, Ops},
};
use burn_flex::{Flex, FlexTensor};

use super::{operands, output, tracked};
use crate::{
    Path,
    cpu::backward::pointwise,
    flex::{self, heads, numbers},
};

/// Rotary positions, or nothing where the kernel does not fit.
pub fn rotate(path: Path, x: &Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Option<Tensor<4>> {
    let [x, cos, sin] = operands(path, [tracked(x), tracked(cos), tracked(sin)])?;
    if cos.is_tracked() || sin.is_tracked() {
        return None;
    }
    let tables = [cos, sin].map(|table| table.primitive().to_contiguous());
    let y = turned(path, x.primitive(), &tables, false);
    Some(output(Rotate, [x.node()], (path, tables), y))
}

/// Heads of a position lie side by side in the result, as they do in the projections around it.
fn turned(path: Path, x: &FlexTensor, tables: &[FlexTensor; 2], back: bool) -> FlexTensor {
    let x = line_up(x);
    let [cos, sin] = tables;
    let dims = cos.layout().shape();
    let (half, by_batch) = (dims[3], dims[0] > 1);
    let from = heads::<f32>(&x);
    let mut out = vec![0.0; x.layout().num_elements()];
    let tables = [numbers(cos), numbers(sin)];
    pointwise::rotate(path, from, half, by_batch, tables, back, &mut out);
    by_position(out, from.dims)
}

/// The tensor with its last dimension contiguous.
pub fn line_up(x: &FlexTensor) -> FlexTensor {
    match x.layout().strides()[3] {
        1 if x.layout().has_positive_strides() => x.clone(),
        _ => x.to_contiguous(),
    }
}

/// Numbers that lie as `[batch, positions, heads, size]`, as `[batch, heads, positions, size]`.
pub fn by_position(values: Vec<f32>, [batch, heads, positions, size]: [usize; 4]) -> FlexTensor {
    let shape = Shape::from(vec![batch, positions, heads, size]);
    flex::tensor(values, shape).transpose(1, 2)
}

#[derive(Debug)]
struct Rotate;

impl Backward<Flex, 1> for Rotate {
    type State = (Path, [FlexTensor; 2]);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        let (path, tables) = ops.state;
        let [node] = ops.parents;
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, turned(path, &dy, &tables, true));
        }
    }
}
