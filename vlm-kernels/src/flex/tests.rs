//! Every kernel on every path that this processor has, against burn's operations in 32 bits.

use burn::tensor::{
    Bool, DType, Device, Distribution, FloatDType, Int, Tensor, TensorData, activation, module,
    ops::AttentionModuleOptions, s,
};

use super::*;
use crate::{AdamWStep, Quantization};

mod rounded;

/// Sums in another order: of numbers around 1, some hundred of them.
const F32: f32 = 2e-5;
/// 8 bits of a mantissa, and inputs that were rounded so.
const BF16: f32 = 3e-2;
/// 11 bits of a mantissa.
const F16: f32 = 4e-3;
/// Activations of 16 bits beside rounded weights.
const WHOLE: f32 = 5e-4;

const KINDS: [(DType, f32); 3] = [(DType::F32, F32), (DType::BF16, BF16), (DType::F16, F16)];

fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn assert_near<const D: usize>(found: Tensor<D>, expected: Tensor<D>, tolerance: f32, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let values = |tensor: Tensor<D>| -> Vec<f32> {
        tensor.cast(DType::F32).into_data().try_into_vec().unwrap()
    };
    for (index, (found, expected)) in values(found).into_iter().zip(values(expected)).enumerate() {
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(
            error <= tolerance,
            "{what}: number {index} is {found}, expected {expected}"
        );
    }
}

/// Each path with each kind of numbers.
fn everywhere(check: impl Fn(Path, DType, f32)) {
    for path in Path::all() {
        for (dtype, tolerance) in KINDS {
            check(path, dtype, tolerance);
        }
    }
}

fn linear<const D: usize>(
    path: Path,
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<D>> {
    linears(path, x, [(weight, bias)]).map(|[product]| product)
}

fn assert_linear(
    path: Path,
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    tolerance: f32,
) {
    let what = format!(
        "{path:?} {:?} {:?} × {:?}",
        x.dtype(),
        x.dims(),
        weight.dims()
    );
    let wide = |tensor: &Tensor<1>| tensor.clone().cast(DType::F32);
    let [batch, seq, _] = x.dims();
    let expected = match batch * seq {
        // burn's product of no rows reads what is not there.
        0 => Tensor::zeros([batch, seq, weight.dims()[1]], &Device::flex()),
        _ => module::linear(
            x.clone().cast(DType::F32),
            weight.clone().cast(DType::F32),
            bias.as_ref().map(wide),
        ),
    };
    let found = linear(path, &x, &weight, bias.as_ref()).expect(&what);
    assert_eq!(found.dtype(), x.dtype());
    assert_near(found, expected, tolerance, &what);
}

#[test]
fn products_of_every_shape() {
    let shapes = [
        ([1, 1], 1, 1),
        ([1, 1], 64, 32),
        ([1, 1], 577, 5),
        ([1, 2], 33, 17),
        ([3, 1], 130, 8),
        ([1, 4], 31, 66),
        ([2, 3], 48, 3),
        ([1, 8], 9, 40),
        ([1, 9], 40, 9),
        ([1, 16], 15, 1),
        ([2, 20], 70, 23),
        ([1, 49], 64, 24),
        ([1, 97], 1100, 11),
        ([0, 3], 8, 4),
        ([1, 60], 1, 7),
    ];
    everywhere(|path, dtype, tolerance| {
        for ([batch, seq], inputs, outputs) in shapes {
            let size = (inputs as f32).sqrt();
            let weight = (random([outputs, inputs]) / size).cast(dtype);
            let x = random([batch, seq, inputs]).cast(dtype);
            let bias = random([outputs]).cast(dtype);
            assert_linear(path, x.clone(), weight.clone().transpose(), None, tolerance);
            assert_linear(path, x, weight.transpose(), Some(bias), tolerance);
        }
    });
}

#[test]
fn several_products_are_each_alone() {
    everywhere(|path, dtype, tolerance| {
        for (seq, inputs, outputs) in [
            (1, 70, [9, 1, 300]),
            (3, 1056, [130, 64, 5]),
            (40, 33, [7, 8, 2]),
        ] {
            let x = random([1, seq, inputs]).cast(dtype);
            let size = (inputs as f32).sqrt();
            let weights = outputs.map(|outputs| (random([outputs, inputs]) / size).cast(dtype));
            let weights = weights.map(Tensor::transpose);
            let bias = random([outputs[1]]).cast(dtype);
            let biases = [None, Some(&bias), None];
            let layers = [0, 1, 2].map(|index| (&weights[index], biases[index]));
            let found = linears(path, &x, layers).unwrap();
            for ((found, outputs), (weight, bias)) in found.into_iter().zip(outputs).zip(layers) {
                let what = format!("{path:?} {dtype:?} {seq} × {inputs} × {outputs}");
                let wide = |tensor: &Tensor<1>| tensor.clone().cast(DType::F32);
                let weight = weight.clone().cast(DType::F32);
                let expected = module::linear(x.clone().cast(DType::F32), weight, bias.map(wide));
                assert_near(found, expected, tolerance, &what);
            }
        }
    });
}

#[test]
fn products_of_views() {
    everywhere(|path, dtype, tolerance| {
        for seq in [1, 30] {
            // Rows further apart than they are long, which begin within the memory.
            let weight = (random([20, 50]) / 6.0).cast(dtype).slice(s![2..15, 7..40]);
            let x = random([seq, 2, 60]).cast(dtype).swap_dims(0, 1);
            let x = x.slice(s![.., .., 20..53]);
            let bias = random([30]).cast(dtype).slice(s![5..18]);
            assert_linear(path, x, weight.transpose(), Some(bias), tolerance);
        }
    });
}

#[test]
fn other_layouts_and_backends_are_left_to_burn() {
    let [x, weight] = [random([1, 4]), random([4, 6])];
    let path = Path::best();
    assert!(linear(path, &x, &weight, None).is_none());
    let turned = random([6, 4]).transpose();
    assert!(linear(path, &x, &turned, None).is_some());
    assert!(linear(Path::Default, &x, &turned, None).is_none());
    assert!(linear(path, &x, &turned.clone().cast(DType::F16), None).is_none());
    assert!(linear(path, &x.clone().autodiff(), &turned, None).is_none());
    assert!(linear(path, &x, &turned.clone().autodiff(), None).is_none());
    #[allow(deprecated)]
    let other = Device::ndarray();
    let moved = turned.clone().to_device(&other);
    assert!(linear(path, &x.clone().to_device(&other), &moved, None).is_none());
    // And burn agrees with itself wherever the tensors are.
    let expected = crate::linear(x.clone(), turned.clone(), None);
    let on_other = crate::linear(x.clone().to_device(&other), moved, None);
    assert_near(
        on_other.to_device(&Device::flex()),
        expected.clone(),
        F32,
        "ndarray",
    );
    let weight = turned.autodiff().require_grad();
    let trained = crate::linear(x.clone(), weight.clone(), None);
    let gradients = trained.clone().sum().backward();
    let gradient = weight.grad(&gradients).unwrap();
    let rows = x.transpose().expand([4, 6]);
    assert_near(gradient, rows, F32, "gradient");
    assert_near(trained.inner(), expected, F32, "autodiff");
}

fn assert_attention(
    path: Path,
    [query, key, value]: [Tensor<4>; 3],
    hidden: Option<Tensor<4, Bool>>,
    causal: bool,
    tolerance: f32,
) {
    let what = format!(
        "{path:?} {:?} {:?} {:?}",
        query.dtype(),
        query.dims(),
        key.dims()
    );
    let [batch, heads, queries, _] = query.dims();
    let [_, kv_heads, keys, head_dim] = key.dims();
    let repeated = |x: &Tensor<4>| {
        x.clone()
            .cast(DType::F32)
            .unsqueeze_dim::<5>(2)
            .expand([batch, kv_heads, heads / kv_heads, keys, head_dim])
            .reshape([batch, heads, keys, head_dim])
    };
    let expected = module::attention(
        query.clone().cast(DType::F32),
        repeated(&key),
        repeated(&value),
        hidden
            .clone()
            .map(|hidden| hidden.expand([batch, heads, queries, keys])),
        None,
        AttentionModuleOptions {
            is_causal: causal,
            ..Default::default()
        },
    );
    let found = attention(path, &query, &key, &value, hidden.as_ref(), causal).expect(&what);
    assert_near(found, expected, tolerance, &what);
}

#[test]
fn attention_of_every_shape() {
    let shapes = [
        (1, 1, 1, 1, 1, 4),
        (1, 3, 1, 1, 20, 64),
        (2, 6, 2, 1, 9, 12),
        (1, 4, 2, 5, 5, 8),
        (2, 2, 2, 50, 50, 16),
        (1, 9, 3, 17, 40, 20),
        (1, 2, 1, 33, 130, 72),
        // Few queries: keys in parts, heads of whole and of broken vectors.
        (1, 16, 16, 1, 333, 64),
        (2, 9, 3, 1, 150, 100),
        (1, 4, 2, 4, 97, 24),
        (1, 2, 2, 8, 65, 130),
    ];
    everywhere(|path, dtype, tolerance| {
        for (batch, heads, kv_heads, queries, keys, head_dim) in shapes {
            let query = random([batch, queries, heads, head_dim])
                .cast(dtype)
                .swap_dims(1, 2);
            // Views of a larger cache.
            let [key, value] = [(); 2].map(|()| {
                let memory = random([batch, kv_heads, keys + 7, head_dim]).cast(dtype);
                memory.slice(s![.., .., 2..keys + 2, ..])
            });
            let tensors = || [query.clone(), key.clone(), value.clone()];
            assert_attention(path, tensors(), None, false, tolerance);
            assert_attention(path, tensors(), None, true, tolerance);
            for rows in [1, batch] {
                let random = random([rows, 1, queries, keys]);
                // Each query sees its first key.
                let hidden = random
                    .greater_elem(0.0)
                    .slice_fill(s![.., .., .., 0..1], false);
                assert_attention(path, tensors(), Some(hidden), false, tolerance);
            }
        }
    });
}

#[test]
fn a_query_that_sees_nothing_gets_zeros() {
    let x = random([1, 1, 2, 4]);
    let hidden = TensorData::new(vec![true, true, false, true], [1, 1, 2, 2]);
    let hidden = Tensor::<4, Bool>::from_data(hidden, &Device::flex());
    for path in Path::all() {
        let found = attention(path, &x, &x, &x, Some(&hidden), false).unwrap();
        let first = found.clone().slice(s![.., .., 0..1, ..]);
        assert_near(
            first,
            Tensor::zeros([1, 1, 1, 4], &Device::flex()),
            0.0,
            "hidden",
        );
        let second = found.slice(s![.., .., 1..2, ..]);
        assert_near(second, x.clone().slice(s![.., .., 0..1, ..]), F32, "seen");
    }
}

#[test]
fn functions_of_every_number() {
    type Expected = fn(Tensor<2>) -> Tensor<2>;
    let functions: [(Function, Expected); 4] = [
        (Function::Silu, activation::silu),
        (Function::Gelu, activation::gelu),
        (Function::GeluTanh, activation::gelu_approximate),
        (Function::QuickGelu, |x| {
            x.clone() * activation::sigmoid(x.mul_scalar(1.702))
        }),
    ];
    everywhere(|path, dtype, tolerance| {
        for (function, expected) in functions {
            for dims in [[1, 1], [3, 7], [90, 201], [0, 4]] {
                let x = (random(dims) * 5.0).cast(dtype);
                let factor = random([dims[1], dims[0]]).cast(dtype).transpose();
                let what = format!("{path:?} {dtype:?} {function:?} {dims:?}");
                let values = expected(x.clone().cast(DType::F32));
                let found = map(path, function, &x, None).unwrap();
                assert_near(found, values.clone(), tolerance, &what);
                let found = map(path, function, &x, Some(&factor)).unwrap();
                assert_near(found, values * factor.cast(DType::F32), tolerance, &what);
            }
        }
    });
}

#[test]
fn norms_of_rows() {
    everywhere(|path, dtype, tolerance| {
        for dims in [[1, 1], [2, 16], [7, 33], [40, 576], [0, 4]] {
            for biased in [false, true] {
                let x = (random(dims) * 3.0 + 1.0).cast(dtype);
                let weight = random([dims[1]]).cast(dtype);
                let bias = biased.then(|| random([dims[1]]).cast(dtype));
                let wide = |tensor: &Tensor<1>| tensor.clone().cast(DType::F32);
                let [x32, weight32] = [x.clone().cast(DType::F32), wide(&weight).unsqueeze()];
                let bias32 = bias.as_ref().map(wide);
                let what = format!("{path:?} {dtype:?} {dims:?} {biased}");
                let rms = (x32.clone().square().mean_dim(1) + 1e-5).sqrt();
                let mut expected = x32.clone() / rms * weight32;
                if let Some(bias) = &bias32 {
                    expected = expected + bias.clone().unsqueeze();
                }
                let found = norm(path, false, &x, &weight, bias.as_ref(), 1e-5).unwrap();
                assert_near(found, expected, tolerance, &format!("rms {what}"));
                if dims[0] > 0 {
                    let expected = module::layer_norm(x32, wide(&weight), bias32, 1e-5);
                    let found = norm(path, true, &x, &weight, bias.as_ref(), 1e-5).unwrap();
                    assert_near(found, expected, tolerance, &format!("layer {what}"));
                }
            }
        }
    });
}

#[test]
fn turns_of_whole_and_part_of_heads() {
    everywhere(|path, dtype, tolerance| {
        for (batch, rows, heads, seq, head_dim, half) in [
            (1, 1, 3, 1, 8, 4),
            (2, 2, 2, 5, 10, 3),
            (2, 1, 3, 700, 16, 8),
        ] {
            let x = random([batch, seq, heads, head_dim])
                .cast(dtype)
                .swap_dims(1, 2);
            let [cos, sin] = [(); 2].map(|()| random([rows, 1, seq, half]).cast(dtype));
            let found = rotate(path, &x, &cos, &sin).unwrap();
            let [x, cos, sin] = [x, cos, sin].map(|tensor| tensor.cast(DType::F32));
            let first = x.clone().slice(s![.., .., .., ..half]);
            let second = x.clone().slice(s![.., .., .., half..2 * half]);
            let expected = Tensor::cat(
                vec![
                    first.clone() * cos.clone() - second.clone() * sin.clone(),
                    second * cos + first * sin,
                    x.slice(s![.., .., .., 2 * half..]),
                ],
                3,
            );
            assert_near(
                found,
                expected,
                tolerance,
                &format!("{path:?} {dtype:?} {seq}"),
            );
        }
    });
}

#[test]
fn steps_of_adamw() {
    let step = AdamWStep {
        learning_rate: 0.1,
        weight_decay: 0.3,
        betas: [0.9, 0.99],
        epsilon: 1e-3,
        time: 3,
        scale: 0.5,
    };
    for path in Path::all() {
        for len in [1, 17, 20_000] {
            let what = format!("{path:?} {len}");
            let (parameter, gradient) = (random([len]), random([len]));
            let means = [random([len]), random([len]).square()];
            let by_hand = |parameter: Tensor<1>, gradient: Tensor<1>, means: [Tensor<1>; 2]| {
                let gradient = gradient * 0.5;
                let [first, second] = means;
                let first = first * 0.9 + gradient.clone() * 0.1;
                let second = second * 0.99 + gradient.square() * 0.01;
                let [debias_1, debias_2] = [1.0 - 0.9f64.powi(3), 1.0 - 0.99f64.powi(3)];
                let root = (second.clone() / debias_2).sqrt() + 1e-3;
                let parameter = parameter * 0.97 - first.clone() / debias_1 / root * 0.1;
                (parameter, [first, second])
            };
            let expected = by_hand(parameter.clone(), gradient.clone(), means.clone());
            let before = parameter.clone();
            let (found, found_means) = adamw(path, step, parameter.clone(), gradient, means);
            assert_near(found, expected.0, F32, &what);
            for (found, expected) in found_means.into_iter().zip(expected.1) {
                assert_near(found, expected, F32, &what);
            }
            // Others that hold the tensor keep what they hold.
            assert_near(parameter, before, 0.0, &what);
        }
    }
}

#[test]
fn sums_of_squares() {
    for path in Path::all() {
        for len in [0, 1, 17, 20_000] {
            let x = random([len + 1]).slice(s![1..]);
            let found = square_sum(path, &x).expect("it fits");
            assert_near(found, x.square().sum(), F32, &format!("{path:?} {len}"));
        }
    }
}
