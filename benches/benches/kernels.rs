//! The operations that answers are made of, each alone, at the sizes of real models.
//! `cargo bench --workspace --bench kernels`; `VLM_KERNELS=default` measures burn's own.

use burn::tensor::{DType, Device, Distribution, Tensor};
use divan::Bencher;
use vlm::{
    checkpoint::Quantization,
    kernels::{Function, attention, linear},
};

fn main() {
    divan::main();
}

/// Rows, inputs, outputs: decoding in 1B and in SmolLM2's head, a prompt, CLIP-L's MLP.
const PRODUCTS: [[usize; 3]; 4] = [
    [1, 2048, 8192],
    [1, 576, 49152],
    [64, 2048, 8192],
    [577, 1024, 4096],
];

fn random<const D: usize>(dims: [usize; D], dtype: DType) -> Tensor<D> {
    let device = Device::flex();
    let numbers: Tensor<D> = Tensor::random(dims, Distribution::Normal(0.0, 1.0), &device);
    numbers.cast(dtype)
}

fn product(bencher: Bencher, [rows, inputs, outputs]: [usize; 3], dtype: DType) {
    let x = random([1, rows, inputs], dtype);
    let weight = random([outputs, inputs], dtype).transpose();
    bencher.bench(|| linear(x.clone(), weight.clone(), None));
}

#[divan::bench(args = PRODUCTS, sample_count = 20)]
fn linear_f32(bencher: Bencher, shape: [usize; 3]) {
    product(bencher, shape, DType::F32);
}

#[divan::bench(args = PRODUCTS, sample_count = 20)]
fn linear_bf16(bencher: Bencher, shape: [usize; 3]) {
    product(bencher, shape, DType::BF16);
}

#[divan::bench(args = PRODUCTS, sample_count = 20)]
fn linear_int8(bencher: Bencher, [rows, inputs, outputs]: [usize; 3]) {
    let x = random([1, rows, inputs], DType::BF16);
    let weight = random([outputs, inputs], DType::F32).into_data();
    let weight = Quantization::Int8.quantize(weight, &Device::flex());
    let weight = weight.expect("inputs are a multiple of 32");
    bencher.bench(|| linear(x.clone(), weight.clone(), None));
}

/// 16 heads of 64, CLIP-L's 577 tokens.
#[divan::bench(args = [DType::F32, DType::BF16], sample_count = 20)]
fn attention_577(bencher: Bencher, dtype: DType) {
    let [query, key, value] = [(); 3].map(|()| random([1, 16, 577, 64], dtype));
    bencher.bench(|| attention(query.clone(), key.clone(), value.clone(), None, false));
}

/// 9 heads on 3, a query and 200 keys: one layer of SmolLM2-135M.
#[divan::bench(args = [DType::F32, DType::BF16])]
fn attention_step(bencher: Bencher, dtype: DType) {
    let query = random([1, 9, 1, 64], dtype);
    let [key, value] = [(); 2].map(|()| random([1, 3, 200, 64], dtype));
    bencher.bench(|| attention(query.clone(), key.clone(), value.clone(), None, false));
}

/// The activations of one layer of CLIP-L.
#[divan::bench(args = [DType::F32, DType::BF16], sample_count = 20)]
fn quick_gelu(bencher: Bencher, dtype: DType) {
    let x = random([577, 4096], dtype);
    bencher.bench(|| Function::QuickGelu.forward(x.clone()));
}
