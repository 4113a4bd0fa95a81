//! AdamW on tensors that are changed where they are.

use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use super::{float, numbers, plain, tensor};
use crate::{AdamWStep, Path, cpu::adamw as kernel};

/// Whether the kernel fits the tensors.
pub fn steps(path: Path, tensors: [&Tensor<1>; 4]) -> bool {
    let fits = |tensor: &Tensor<1>| plain(tensor).is_some_and(|x| x.dtype() == DType::F32);
    path > Path::Default && tensors.into_iter().all(fits)
}

/// The step of tensors that the kernel fits.
pub fn adamw(
    path: Path,
    step: AdamWStep,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    means: [Tensor<1>; 2],
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let [first, second] = means;
    let tensors = [parameter, gradient, first, second].map(|tensor| {
        let alone = plain(&tensor).expect("the kernel fits");
        drop(tensor);
        in_order(alone)
    });
    let [mut parameter, gradient, mut first, mut second] = tensors;
    let means = [first.storage_mut(), second.storage_mut()];
    kernel::adamw(
        path,
        step,
        numbers(&gradient),
        parameter.storage_mut(),
        means,
    );
    (float(parameter), [float(first), float(second)])
}

/// The numbers as the whole of their memory.
fn in_order(x: FlexTensor) -> FlexTensor {
    let whole = x.is_contiguous()
        && x.layout().start_offset() == 0
        && x.storage::<f32>().len() == x.layout().num_elements();
    match whole {
        true => x,
        false => {
            let x = x.to_contiguous();
            tensor(numbers::<f32>(&x).to_vec(), x.layout().shape().clone())
        }
    }
}

/// The sum of all squares, or nothing where the kernel does not fit.
pub fn square_sum(path: Path, x: &Tensor<1>) -> Option<Tensor<1>> {
    let x = plain(x).filter(|x| path > Path::Default && x.dtype() == DType::F32)?;
    let x = x.to_contiguous();
    let sum = kernel::square_sum(path, numbers(&x));
    Some(float(tensor(vec![sum], [1].into())))
}
