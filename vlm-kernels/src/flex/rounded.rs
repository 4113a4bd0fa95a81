//! Rounded weights and tables as tensors.

use burn::{
    backend::{
        BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, TensorMetadata,
    },
    tensor::{
        Bytes, DType, Device, FloatDType, Int, Shape, Tensor, TensorData,
        quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype},
    },
};
use burn_flex::{FlexQTensor, FlexTensor, Layout};
use half::{bf16, f16};

use super::{Kind, float, multiplied, plain, tensor};
use crate::{
    Path, Quantization,
    cpu::{
        codes::{self, Bits, Codes, Rounded},
        matrix::Rows,
    },
};

/// Begins to round the rows of a checkpoint, `[out, in]`.
///
/// # Panics
///
/// When the rows are no whole number of groups.
pub fn unrounded(quantization: Quantization, shape: [usize; 2]) -> Rounded {
    let bits = match quantization {
        Quantization::Int8 => Bits::Eight,
        Quantization::Int4 => Bits::Four,
    };
    Rounded::new(bits, shape)
}

/// Rounds the next rows.
///
/// # Panics
///
/// When they are more than are missing, or of another kind than floats of 32 or 16 bits.
pub fn round(rounded: &mut Rounded, rows: &TensorData) {
    fn of<E: Kind>(rows: &TensorData) -> &[E] {
        rows.as_slice().expect("floats of this kind")
    }
    let path = Path::current();
    match rows.dtype() {
        DType::F32 => rounded.push(path, of::<f32>(rows)),
        DType::BF16 => rounded.push(path, of::<bf16>(rows)),
        DType::F16 => rounded.push(path, of::<f16>(rows)),
        dtype => panic!("a weight of {dtype:?} cannot be rounded"),
    }
}

/// How the rows of codes are looked at; burn is told so many numbers as the place says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// `[in, out]`, as linear layers have them.
    Weight = 1,
    /// `[out, in]`, as tables have them.
    Table = 2,
}

/// A rounded weight, `[in, out]`, of floats of `dtype`.
///
/// # Panics
///
/// When rows are missing.
pub fn rounded_weight(rounded: Rounded, dtype: FloatDType) -> Tensor<2> {
    of_codes(rounded, dtype, View::Weight)
}

/// A rounded table, `[out, in]`, of floats of `dtype`.
///
/// # Panics
///
/// When rows are missing.
pub fn rounded_table(rounded: Rounded, dtype: FloatDType) -> Tensor<2> {
    of_codes(rounded, dtype, View::Table)
}

/// To burn it is a tensor of one number, `NaN`: what burn computes from it is nothing that could be taken for an
/// answer.
fn of_codes(rounded: Rounded, dtype: FloatDType, view: View) -> Tensor<2> {
    let value = match rounded.bits() {
        Bits::Eight => QuantValue::Q8S,
        Bits::Four => QuantValue::Q4S,
    };
    let floats = match dtype {
        FloatDType::BF16 => ScaleDtype::BF16,
        FloatDType::F16 => ScaleDtype::F16,
        _ => ScaleDtype::F32,
    };
    let mut shape = rounded.shape();
    if view == View::Weight {
        shape.reverse();
    }
    let layout = Layout::new(Shape::from(shape.to_vec()), vec![0, 0], 0);
    let memory = FlexTensor::new(Bytes::from_elems(rounded.finish()), layout, DType::I8);
    let scheme = QuantScheme::default()
        .with_value(value)
        .with_store(QuantStore::Native)
        .per_tensor(floats);
    let weight = FlexQTensor::new(memory, scheme, vec![f32::NAN; view as usize], None);
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Quantized(weight)),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

/// The codes of what is of this module's making and looked at so; nothing for all else.
fn view(weight: &FlexQTensor, view: View) -> Option<Codes<'_>> {
    let DType::QFloat(scheme) = weight.dtype() else {
        return None;
    };
    let memory = weight.tensor();
    let scales = weight.scales();
    let ours = scales.len() == view as usize && scales.iter().all(|scale| scale.is_nan());
    if !ours || memory.layout().strides() != [0, 0] {
        return None;
    }
    let bits = match scheme.value {
        QuantValue::Q8S => Bits::Eight,
        _ => Bits::Four,
    };
    let shape = memory.layout().shape();
    let [outputs, inputs] = match view {
        View::Weight => [shape[1], shape[0]],
        View::Table => [shape[0], shape[1]],
    };
    Some(Codes::new(bits, outputs, inputs, memory.bytes()))
}

fn quantized(tensor: &Tensor<2>) -> Option<FlexQTensor> {
    match tensor.clone().into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Quantized(tensor)) => Some(tensor),
        _ => None,
    }
}

/// The kind of floats that were rounded.
fn floats(dtype: DType) -> Option<DType> {
    let DType::QFloat(scheme) = dtype else {
        return None;
    };
    match scheme.scale_dtype() {
        ScaleDtype::BF16 => Some(DType::BF16),
        ScaleDtype::F16 => Some(DType::F16),
        _ => Some(DType::F32),
    }
}

/// The floats that a weight or a table was rounded to, or nothing for other tensors.
pub fn dequantize(weight: &Tensor<2>, dtype: FloatDType) -> Option<Tensor<2>> {
    let weight = quantized(weight)?;
    let as_weight = view(&weight, View::Weight);
    let turned = as_weight.is_some();
    let codes = as_weight.or_else(|| view(&weight, View::Table))?;
    let shape = [codes.outputs(), codes.inputs()];
    let rows = TensorData::new(rows_of::<f32>(codes, 0..shape[0]), shape);
    let rows = Tensor::from_data(rows, (&Device::flex(), DType::from(dtype)));
    Some(if turned { rows.transpose() } else { rows })
}

fn rows_of<E: Kind>(codes: Codes<'_>, rows: impl ExactSizeIterator<Item = usize>) -> Vec<E> {
    let inputs = codes.inputs();
    let mut numbers = vec![E::default(); rows.len() * inputs];
    for (row, to) in rows.zip(numbers.chunks_exact_mut(inputs.max(1))) {
        codes.read(row, 0..inputs, to);
    }
    numbers
}

/// `x · weight + bias` with each of rounded weights, or nothing where the kernels do not fit.
pub fn products(
    path: Path,
    x: FlexTensor,
    weights: &[FlexQTensor],
    biases: Vec<Option<FlexTensor>>,
) -> Option<Vec<FlexTensor>> {
    let weights = weights.iter().map(|weight| view(weight, View::Weight));
    by_codes(path, x, weights.collect::<Option<_>>()?, biases)
}

fn by_codes(
    path: Path,
    x: FlexTensor,
    weights: Vec<Codes<'_>>,
    biases: Vec<Option<FlexTensor>>,
) -> Option<Vec<FlexTensor>> {
    match x.dtype() {
        DType::F32 => Some(multiplied(path, x, weights, biases, codes::few_rows::<f32>)),
        DType::BF16 => Some(multiplied(
            path,
            x,
            weights,
            biases,
            codes::few_rows::<bf16>,
        )),
        DType::F16 => Some(multiplied(path, x, weights, biases, codes::few_rows::<f16>)),
        _ => None,
    }
}

/// `x · tableᵀ` of a rounded table, or nothing where the kernels do not fit.
pub fn table_scores(path: Path, x: &Tensor<3>, table: &Tensor<2>) -> Option<Tensor<3>> {
    if path == Path::Default {
        return None;
    }
    let table = quantized(table)?;
    let codes = view(&table, View::Table)?;
    let scores = by_codes(path, plain(x)?, vec![codes], vec![None])?;
    scores.into_iter().next().map(float)
}

/// Rows of a rounded table as the floats that they were rounded from, or nothing for other tensors.
///
/// # Panics
///
/// When an id is not a row's number.
pub fn table_rows(table: &Tensor<2>, ids: &Tensor<2, Int>) -> Option<Tensor<3>> {
    let table = quantized(table)?;
    let codes = view(&table, View::Table)?;
    let [batch, seq] = ids.dims();
    let shape = Shape::from(vec![batch, seq, codes.inputs()]);
    let ids = ids.clone().into_data();
    let ids: Vec<usize> = ids.iter::<i64>().map(|id| id as usize).collect();
    let ids = ids.into_iter();
    Some(float(match floats(table.dtype())? {
        DType::BF16 => tensor(rows_of::<bf16>(codes, ids), shape),
        DType::F16 => tensor(rows_of::<f16>(codes, ids), shape),
        _ => tensor(rows_of::<f32>(codes, ids), shape),
    }))
}
