//! Between burn's `Flex` backend and the kernels.

use std::borrow::Cow;

use burn::{
    backend::{BackendTensor, DispatchDevice, DispatchTensorKind},
    tensor::{Bool, Bytes, DType, Device, Shape, Tensor},
};
use burn_flex::{Flex, FlexTensor, Layout};
use half::{bf16, f16};

use crate::{
    Function, Path,
    cpu::{
        attention::{self, Heads, Hidden},
        dot::{Weight, few_rows},
        matrix::{Product, Rows, Weights},
        pointwise::{self, Norm},
        tile::many_rows,
    },
};

pub use adamw::{adamw, square_sum, steps};
pub use rounded::{
    dequantize, round, rounded_table, rounded_weight, table_rows, table_scores, unrounded,
};

/// Products with fewer rows read the weight once for all of them.
const FEW: usize = 8;

/// Whether tensors of a device are `Flex`'s, without autodiff.
pub fn is_plain(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// The tensor as `Flex` holds it, unless it is another backend's or has a gradient.
pub fn plain<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    match tensor.clone().into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => Some(tensor),
        _ => None,
    }
}

pub fn float<const D: usize>(tensor: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(tensor)
}

/// Kinds of numbers that tensors are made of.
pub trait Kind: Weight + burn::tensor::Element {
    fn view(tensor: &FlexTensor) -> &[Self];
    fn bytes(values: Vec<Self>) -> Bytes;
}

macro_rules! kinds {
    ($($kind:ty),*) => {$(
        impl Kind for $kind {
            fn view(tensor: &FlexTensor) -> &[Self] {
                tensor.storage::<$kind>()
            }

            fn bytes(values: Vec<Self>) -> Bytes {
                Bytes::from_elems(values)
            }
        }
    )*};
}

kinds!(f32, bf16, f16);

/// The numbers of a tensor that has been made contiguous.
pub fn numbers<E: Kind>(tensor: &FlexTensor) -> &[E] {
    let begin = tensor.layout().start_offset();
    &E::view(tensor)[begin..begin + tensor.layout().num_elements()]
}

fn as_floats<E: Kind>(numbers: &[E]) -> Cow<'_, [f32]> {
    match E::floats([numbers]) {
        Some([floats]) => Cow::Borrowed(floats),
        None => Cow::Owned(numbers.iter().map(|value| value.to_f32()).collect()),
    }
}

pub fn tensor<E: Kind>(values: Vec<E>, shape: Shape) -> FlexTensor {
    FlexTensor::new(E::bytes(values), Layout::contiguous(shape), E::dtype())
}

/// Calls a function for the kind of numbers of a tensor; nothing for other kinds.
macro_rules! by_kind {
    ($dtype:expr, $function:ident ( $($argument:expr),* )) => {
        match $dtype {
            DType::F32 => $function::<f32>($($argument),*),
            DType::BF16 => $function::<bf16>($($argument),*),
            DType::F16 => $function::<f16>($($argument),*),
            _ => None,
        }
    };
}

mod adamw;
mod rounded;

/// `x · weight + bias` with each weight, or nothing where no kernel of this crate fits.
pub fn linears<const D: usize, const N: usize>(
    path: Path,
    x: &Tensor<D>,
    layers: [(&Tensor<2>, Option<&Tensor<1>>); N],
) -> Option<[Tensor<D>; N]> {
    if path == Path::Default {
        return None;
    }
    let x = plain(x)?;
    let dtype = x.dtype();
    let mut biases = Vec::with_capacity(N);
    let (mut floats, mut codes) = (Vec::new(), Vec::new());
    for (weight, bias) in layers {
        biases.push(match bias {
            Some(bias) => Some(plain(bias).filter(|bias| bias.dtype() == dtype)?),
            None => None,
        });
        match weight.clone().into_dispatch().kind {
            DispatchTensorKind::Flex(BackendTensor::Float(weight)) if weight.dtype() == dtype => {
                floats.push(weight);
            }
            DispatchTensorKind::Flex(BackendTensor::Quantized(weight)) => codes.push(weight),
            _ => return None,
        }
    }
    let products = match (floats.len(), codes.len()) {
        (count, 0) if count == N => by_kind!(dtype, products(path, x, &floats, biases)),
        (0, _) => rounded::products(path, x, &codes, biases),
        _ => None,
    };
    let products: Vec<_> = products?.into_iter().map(float).collect();
    products.try_into().ok()
}

/// Rows of a weight, `[in, out]`, whose columns are contiguous, and how far they are apart.
fn rows(weight: &FlexTensor) -> Option<([usize; 2], usize)> {
    let (shape, strides) = (weight.layout().shape(), weight.layout().strides());
    let [inputs, outputs] = [shape[0], shape[1]];
    let columns = strides[0] == 1 || inputs == 1;
    let stride = usize::try_from(strides[1]).ok()?;
    (columns && (stride >= inputs || outputs <= 1)).then_some(([outputs, inputs], stride))
}

fn products<E: Kind>(
    path: Path,
    x: FlexTensor,
    weights: &[FlexTensor],
    biases: Vec<Option<FlexTensor>>,
) -> Option<Vec<FlexTensor>> {
    let weights: Option<Vec<_>> = weights
        .iter()
        .map(|weight| {
            let ([outputs, inputs], stride) = rows(weight)?;
            let data = &E::view(weight)[weight.layout().start_offset()..];
            Some(Weights::new(data, outputs, inputs, stride))
        })
        .collect();
    Some(multiplied(path, x, weights?, biases, few_rows::<E, E>))
}

/// The products of `x` with each weight, `few` being the kernel for few rows.
fn multiplied<E: Kind, R: Rows>(
    path: Path,
    x: FlexTensor,
    weights: Vec<R>,
    biases: Vec<Option<FlexTensor>>,
    few: impl Fn(Path, &[f32], &mut [Product<'_, R, E>]),
) -> Vec<FlexTensor> {
    let shapes: Vec<Shape> = weights
        .iter()
        .map(|weight| {
            let mut shape = x.layout().shape().clone();
            let last = shape.num_dims() - 1;
            assert_eq!(
                shape[last],
                weight.inputs(),
                "the last dimension of x is the weight's first"
            );
            shape[last] = weight.outputs();
            shape
        })
        .collect();
    let bias = |bias: &Option<FlexTensor>| {
        let bias = bias.as_ref()?.to_contiguous();
        Some(as_floats(numbers::<E>(&bias)).into_owned())
    };
    let biases: Vec<_> = biases.iter().map(bias).collect();
    let x = x.to_contiguous();
    let x = numbers::<E>(&x);
    let mut out: Vec<Vec<E>> = shapes
        .iter()
        .map(|shape| vec![E::default(); shape.num_elements()])
        .collect();
    let products = weights.iter().zip(&biases).zip(&mut out);
    let mut products: Vec<_> = products
        .map(|((weights, bias), out)| Product {
            weights: *weights,
            bias: bias.as_deref(),
            out,
        })
        .collect();
    let is_few = |product: &Product<'_, R, E>| {
        let outputs = product.weights.outputs();
        outputs > 0 && product.out.len() <= FEW * outputs
    };
    match products.iter().all(is_few) {
        true => few(path, &as_floats(x), &mut products),
        false => {
            for product in products {
                many_rows(path, x, product.weights, product.bias, product.out);
            }
        }
    }
    out.into_iter()
        .zip(shapes)
        .map(|(out, shape)| tensor(out, shape))
        .collect()
}

/// Attention, or nothing where the kernel does not fit.
pub fn attention(
    path: Path,
    query: &Tensor<4>,
    key: &Tensor<4>,
    value: &Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
    causal: bool,
) -> Option<Tensor<4>> {
    if path == Path::Default {
        return None;
    }
    let tensors = [plain(query)?, plain(key)?, plain(value)?];
    let dtype = tensors[0].dtype();
    if tensors.iter().any(|tensor| tensor.dtype() != dtype) {
        return None;
    }
    let hidden = match hidden {
        None => None,
        Some(hidden) => match hidden.clone().into_dispatch().kind {
            DispatchTensorKind::Flex(BackendTensor::Bool(hidden)) => Some(hidden.to_contiguous()),
            _ => return None,
        },
    };
    by_kind!(dtype, attended(path, tensors, hidden, causal)).map(float)
}

fn attended<E: Kind>(
    path: Path,
    tensors: [FlexTensor; 3],
    hidden: Option<FlexTensor>,
    causal: bool,
) -> Option<FlexTensor> {
    let tensors = tensors.map(|tensor| match tensor.layout().strides()[3] {
        1 if tensor.layout().has_positive_strides() => tensor,
        _ => tensor.to_contiguous(),
    });
    let [query, key, value] = tensors.each_ref().map(heads::<E>);
    let [batch, heads, queries, _] = query.dims;
    let head_dim = value.dims[3];
    let shape = Shape::from(vec![batch, heads, queries, head_dim]);
    let mut out = vec![E::default(); shape.num_elements()];
    let mask = hidden.as_ref().map(|hidden| {
        let begin = hidden.layout().start_offset();
        &hidden.storage::<u8>()[begin..begin + hidden.layout().num_elements()]
    });
    let hidden = Hidden {
        mask,
        by_batch: hidden
            .as_ref()
            .is_some_and(|hidden| hidden.layout().shape()[0] > 1),
        causal,
    };
    if !out.is_empty() {
        attention::attention(path, query, key, value, hidden, &mut out);
    }
    // Heads of a position lie side by side, as the next product wants them.
    let [position, head] = [heads * head_dim, head_dim].map(|size| size as isize);
    let strides = vec![queries as isize * position, head, position, 1];
    let layout = Layout::new(shape, strides, 0);
    Some(FlexTensor::new(E::bytes(out), layout, E::dtype()))
}

pub fn heads<E: Kind>(tensor: &FlexTensor) -> Heads<'_, E> {
    let (shape, strides) = (tensor.layout().shape(), tensor.layout().strides());
    Heads {
        data: &E::view(tensor)[tensor.layout().start_offset()..],
        dims: [shape[0], shape[1], shape[2], shape[3]],
        strides: [strides[0], strides[1], strides[2]].map(|stride| stride as usize),
    }
}

/// A function of every number, or nothing where the kernel does not fit.
pub fn map<const D: usize>(
    path: Path,
    function: Function,
    x: &Tensor<D>,
    factor: Option<&Tensor<D>>,
) -> Option<Tensor<D>> {
    if path == Path::Default {
        return None;
    }
    let x = plain(x)?;
    let factor = match factor {
        Some(factor) => Some(plain(factor)?),
        None => None,
    };
    if factor.as_ref().is_some_and(|factor| {
        factor.dtype() != x.dtype() || factor.layout().shape() != x.layout().shape()
    }) {
        return None;
    }
    let dtype = x.dtype();
    by_kind!(dtype, mapped(path, function, x, factor)).map(float)
}

fn mapped<E: Kind>(
    path: Path,
    function: Function,
    x: FlexTensor,
    factor: Option<FlexTensor>,
) -> Option<FlexTensor> {
    let x = x.to_contiguous();
    let factor = factor.map(|factor| factor.to_contiguous());
    let factor = factor.as_ref().map(numbers::<E>);
    let mut out = vec![E::default(); x.layout().num_elements()];
    pointwise::map(path, function, numbers::<E>(&x), factor, &mut out);
    Some(tensor(out, x.layout().shape().clone()))
}

/// A norm of the last dimension, which takes the mean away or not, or nothing where the kernel does not fit.
pub fn norm<const D: usize>(
    path: Path,
    centred: bool,
    x: &Tensor<D>,
    weight: &Tensor<1>,
    bias: Option<&Tensor<1>>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    if path == Path::Default {
        return None;
    }
    let (x, weight) = (plain(x)?, plain(weight)?);
    let bias = match bias {
        Some(bias) => Some(plain(bias)?),
        None => None,
    };
    let dtype = x.dtype();
    if weight.dtype() != dtype || bias.as_ref().is_some_and(|bias| bias.dtype() != dtype) {
        return None;
    }
    by_kind!(dtype, normed(path, centred, x, weight, bias, epsilon)).map(float)
}

fn normed<E: Kind>(
    path: Path,
    centred: bool,
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    epsilon: f64,
) -> Option<FlexTensor> {
    let [x, weight] = [x, weight].map(|tensor| tensor.to_contiguous());
    let bias = bias.map(|bias| bias.to_contiguous());
    let shape = x.layout().shape().clone();
    let norm = Norm {
        centred,
        epsilon: epsilon as f32,
        weight: numbers::<E>(&weight),
        bias: bias.as_ref().map(numbers::<E>),
    };
    assert_eq!(
        shape[shape.num_dims() - 1],
        norm.weight.len(),
        "the last dimension of x is the weight's"
    );
    let mut out = vec![E::default(); shape.num_elements()];
    pointwise::norm(path, numbers::<E>(&x), norm, &mut out);
    Some(tensor(out, shape))
}

/// Rotary positions, or nothing where the kernel does not fit.
pub fn rotate(path: Path, x: &Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Option<Tensor<4>> {
    if path == Path::Default {
        return None;
    }
    let tensors = [plain(x)?, plain(cos)?, plain(sin)?];
    let dtype = tensors[0].dtype();
    if tensors.iter().any(|tensor| tensor.dtype() != dtype) {
        return None;
    }
    by_kind!(dtype, rotated(tensors)).map(float)
}

fn rotated<E: Kind>([x, cos, sin]: [FlexTensor; 3]) -> Option<FlexTensor> {
    let x = match x.layout().strides()[3] {
        1 if x.layout().has_positive_strides() => x,
        _ => x.to_contiguous(),
    };
    let [cos, sin] = [cos, sin].map(|tensor| tensor.to_contiguous());
    let half = cos.layout().shape()[3];
    let by_batch = cos.layout().shape()[0] > 1;
    let (cos, sin) = (numbers::<E>(&cos), numbers::<E>(&sin));
    let shape = x.layout().shape().clone();
    let from = heads::<E>(&x);
    let mut out = vec![E::default(); shape.num_elements()];
    pointwise::rotate(from, half, by_batch, [cos, sin], &mut out);
    Some(tensor(out, shape))
}

#[cfg(test)]
mod tests;
