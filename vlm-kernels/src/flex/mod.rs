//! Between burn's `Flex` backend and the kernels.

use std::{borrow::Cow, marker::PhantomData};

use burn::{
    backend::{
        BackendTensor, DispatchAutodiffContext, DispatchDevice, DispatchTensor, DispatchTensorKind,
        TensorMetadata,
    },
    tensor::{
        Bool, Bytes, DType, Device, Shape, Tensor, TensorData,
        quantization::{QuantMode, QuantStore},
    },
};
use burn_flex::{Flex, FlexQTensor, FlexTensor, Layout};
use half::{bf16, f16};

use crate::{
    Function, Path, Quantization,
    cpu::{
        attention::{self, Heads, Hidden},
        bytes::{self, Quantized},
        dot::{Weight, few_rows},
        matrix::Weights,
        pointwise::{self, Norm},
        tile::many_rows,
    },
};

/// Products with fewer rows read the weight once for all of them.
const FEW: usize = 8;

/// Whether tensors of a device are `Flex`'s, without autodiff.
pub fn is_plain(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// The tensor as `Flex` holds it, unless it is another backend's or has a gradient.
fn plain<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    match tensor.clone().into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => Some(tensor),
        _ => None,
    }
}

fn float<const D: usize>(tensor: FlexTensor) -> Tensor<D> {
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
fn numbers<E: Kind>(tensor: &FlexTensor) -> &[E] {
    let begin = tensor.layout().start_offset();
    &E::view(tensor)[begin..begin + tensor.layout().num_elements()]
}

fn as_floats<E: Kind>(numbers: &[E]) -> Cow<'_, [f32]> {
    match E::floats([numbers]) {
        Some([floats]) => Cow::Borrowed(floats),
        None => Cow::Owned(numbers.iter().map(|value| value.to_f32()).collect()),
    }
}

fn tensor<E: Kind>(values: Vec<E>, shape: Shape) -> FlexTensor {
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

/// `x · weight + bias`, or nothing where no kernel of this crate fits.
pub fn linear<const D: usize>(
    path: Path,
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<D>> {
    if path == Path::Default {
        return None;
    }
    let x = plain(x)?;
    let bias = match bias {
        Some(bias) => Some(plain(bias)?),
        None => None,
    };
    let dtype = x.dtype();
    if bias.as_ref().is_some_and(|bias| bias.dtype() != dtype) {
        return None;
    }
    let product = match weight.clone().into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(weight)) if weight.dtype() == dtype => {
            by_kind!(dtype, product(path, x, &weight, bias))
        }
        DispatchTensorKind::Flex(BackendTensor::Quantized(weight)) => {
            by_kind!(dtype, quantized_product(path, x, &weight, bias))
        }
        _ => None,
    };
    product.map(float)
}

/// Rows of a weight, `[in, out]`, whose columns are contiguous, and how far they are apart.
fn rows(weight: &FlexTensor) -> Option<([usize; 2], usize)> {
    let (shape, strides) = (weight.layout().shape(), weight.layout().strides());
    let [inputs, outputs] = [shape[0], shape[1]];
    let columns = strides[0] == 1 || inputs == 1;
    let stride = usize::try_from(strides[1]).ok()?;
    (columns && (stride >= inputs || outputs <= 1)).then_some(([outputs, inputs], stride))
}

fn product<E: Kind>(
    path: Path,
    x: FlexTensor,
    weight: &FlexTensor,
    bias: Option<FlexTensor>,
) -> Option<FlexTensor> {
    let ([outputs, inputs], stride) = rows(weight)?;
    let data = &E::view(weight)[weight.layout().start_offset()..];
    let weights = Weights::new(data, outputs, inputs, stride);
    let operands = Operands::<E>::new(x, bias, [outputs, inputs]);
    let mut out = vec![E::default(); operands.shape.num_elements()];
    let (x, bias) = (numbers::<E>(&operands.x), operands.bias.as_deref());
    match outputs > 0 && out.len() <= FEW * outputs {
        true => few_rows(path, &as_floats(x), weights, bias, &mut out),
        false => many_rows(path, x, weights, bias, &mut out),
    }
    Some(tensor(out, operands.shape))
}

fn quantized_product<E: Kind>(
    path: Path,
    x: FlexTensor,
    weight: &FlexQTensor,
    bias: Option<FlexTensor>,
) -> Option<FlexTensor> {
    let DType::QFloat(scheme) = weight.dtype() else {
        return None;
    };
    let group = scheme.block_size()?.as_dim::<2>();
    let known = group == [bytes::GROUP as u8, 1]
        && scheme.mode == QuantMode::Symmetric
        && scheme.tensor_scale().is_none();
    let ([outputs, inputs], stride) = rows(weight.tensor())?;
    if !known || !inputs.is_multiple_of(bytes::GROUP) {
        return None;
    }
    let data = &weight.tensor().storage::<i8>()[weight.tensor().layout().start_offset()..];
    let weights = Weights::new(data, outputs, inputs, stride);
    let weights = weights.with_scales(weight.scales(), bytes::GROUP);
    let operands = Operands::<E>::new(x, bias, [outputs, inputs]);
    let mut out = vec![E::default(); operands.shape.num_elements()];
    let (x, bias) = (numbers::<E>(&operands.x), operands.bias.as_deref());
    match outputs > 0 && out.len() <= FEW * outputs {
        true => bytes::few_rows(path, &as_floats(x), weights, bias, &mut out),
        false => many_rows(path, x, weights, bias, &mut out),
    }
    Some(tensor(out, operands.shape))
}

/// What a weight is multiplied with, and the shape of the product.
struct Operands<E> {
    x: FlexTensor,
    bias: Option<Vec<f32>>,
    shape: Shape,
    kind: PhantomData<E>,
}

impl<E: Kind> Operands<E> {
    fn new(x: FlexTensor, bias: Option<FlexTensor>, [outputs, inputs]: [usize; 2]) -> Self {
        let mut shape = x.layout().shape().clone();
        let last = shape.num_dims() - 1;
        assert_eq!(
            shape[last], inputs,
            "the last dimension of x is the weight's first"
        );
        shape[last] = outputs;
        let bias = bias.map(|bias| as_floats(numbers::<E>(&bias.to_contiguous())).into_owned());
        Self {
            x: x.to_contiguous(),
            bias,
            shape,
            kind: PhantomData,
        }
    }
}

/// Rounds rows of a checkpoint, `[out, in]`.
///
/// # Panics
///
/// When the rows are no whole number of groups, or of another kind than floats of 32 or 16 bits.
pub fn round(quantization: Quantization, rows: &TensorData) -> Quantized {
    let outputs = rows.shape()[0];
    let largest = quantization.largest();
    let path = Path::current();
    match rows.dtype() {
        DType::F32 => bytes::quantize(
            path,
            rows.as_slice::<f32>().expect("floats"),
            outputs,
            largest,
        ),
        DType::BF16 => bytes::quantize(
            path,
            rows.as_slice::<bf16>().expect("floats"),
            outputs,
            largest,
        ),
        DType::F16 => bytes::quantize(
            path,
            rows.as_slice::<f16>().expect("floats"),
            outputs,
            largest,
        ),
        dtype => panic!("a weight of {dtype:?} cannot be rounded"),
    }
}

/// A rounded weight, `[in, out]`, of rounded rows.
pub fn rounded_weight(
    quantization: Quantization,
    [outputs, inputs]: [usize; 2],
    rounded: Quantized,
) -> Tensor<2> {
    let shape = Shape::from(vec![inputs, outputs]);
    let layout = Layout::new(shape, vec![1, inputs as isize], 0);
    let values = FlexTensor::new(Bytes::from_elems(rounded.bytes), layout, DType::I8);
    let scheme = quantization.scheme().with_store(QuantStore::Native);
    let weight = FlexQTensor::new(values, scheme, rounded.scales, None);
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Quantized(weight)),
        autodiff: DispatchAutodiffContext::Disabled,
    })
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

fn heads<E: Kind>(tensor: &FlexTensor) -> Heads<'_, E> {
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
