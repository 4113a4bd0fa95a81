//! Every backward pass on every path that this processor has, against burn's autodiff of burn's operations.

use burn::tensor::{
    Bool, Device, Distribution, Tensor, TensorData, activation, module,
    ops::AttentionModuleOptions, s,
};

use super::*;
use crate::Function;

/// Sums in another order: of numbers around 1, some hundred of them, and functions within 1.5e-7.
const NEAR: f32 = 5e-5;

fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    let device = Device::flex().autodiff();
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), &device)
}

fn assert_near<const D: usize>(found: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let values = |tensor: Tensor<D>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };
    for (index, (found, expected)) in values(found).into_iter().zip(values(expected)).enumerate() {
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(
            error <= NEAR,
            "{what}: number {index} is {found}, expected {expected}"
        );
    }
}

/// Compares two functions of the same inputs, and their gradients where the outputs count differently.
macro_rules! compare {
    ($what:expr, [$($input:ident),+], $found:expr, $expected:expr) => {{
        let what: &str = &$what;
        $(let $input = $input.require_grad();)+
        let (found, expected) = ($found, $expected);
        assert_near(found.clone().inner(), expected.clone().inner(), what);
        let factors = random(found.dims());
        let found = (found * factors.clone()).sum().backward();
        let expected = (expected * factors).sum().backward();
        $(assert_near(
            $input.grad(&found).expect(what),
            $input.grad(&expected).expect(what),
            &format!("{what}: {}", stringify!($input)),
        );)+
    }};
}

#[test]
fn linear_layers() {
    for path in Path::all() {
        for ([batch, seq], inputs, outputs) in [
            ([1, 1], 1, 1),
            ([2, 3], 5, 7),
            ([1, 65], 33, 50),
            ([3, 50], 64, 17),
            ([2, 97], 100, 65),
        ] {
            let what = format!("{path:?} {batch} {seq} {inputs} {outputs}");
            let x = random([batch, seq, inputs]);
            let size = (inputs as f32).sqrt();
            let weight = (random([inputs, outputs]) / size).detach();
            let bias = random([outputs]);
            compare!(
                what,
                [x, weight, bias],
                linear(path, &x, &weight, Some(&bias)).expect(&what),
                module::linear(x.clone(), weight.clone(), Some(bias.clone()))
            );
            let x = random([batch, seq, inputs]);
            // As a checkpoint has it, and an input that does not lie in order.
            let weight = (random([outputs, inputs]) / size).detach();
            compare!(
                what,
                [x, weight],
                linear(
                    path,
                    &x.clone().swap_dims(0, 1),
                    &weight.clone().transpose(),
                    None
                )
                .expect(&what),
                module::linear(x.clone().swap_dims(0, 1), weight.clone().transpose(), None)
            );
        }
    }
}

#[test]
fn what_is_frozen_has_no_gradient() {
    for path in Path::all() {
        let x = random([3, 4]).require_grad();
        let weight = random([4, 5]).inner();
        let y = linear(path, &x, &weight, None).expect("x learns");
        let gradients = y.sum().backward();
        let expected = weight.clone().sum_dim(1).transpose().expand([3, 4]);
        assert_near(x.grad(&gradients).unwrap(), expected, "x");
        // Where nothing learns there is no graph to be part of.
        assert!(linear(path, &x.inner(), &weight, None).is_none());
        assert!(linear(path, &random([3, 4]), &weight, None).is_none());
    }
    let x = random([3, 4]).require_grad();
    assert!(linear(Path::Default, &x, &random([4, 5]), None).is_none());
}

#[test]
fn norms() {
    for path in Path::all() {
        for (rows, columns) in [(1, 1), (3, 2), (5, 33), (130, 48), (67, 192)] {
            let what = format!("{path:?} {rows} {columns}");
            let x = (random([2, rows, columns]) * 2.0 + 0.5).detach();
            let weight = random([columns]);
            let bias = random([columns]);
            compare!(
                what,
                [x, weight, bias],
                norm(path, true, &x, &weight, Some(&bias), 1e-2).expect(&what),
                module::layer_norm(x.clone(), weight.clone(), Some(bias.clone()), 1e-2)
            );
            let x = random([2, rows, columns]);
            let weight = random([columns]);
            compare!(
                what,
                [x, weight],
                norm(path, false, &x, &weight, None, 1e-2).expect(&what),
                x.clone() / (x.clone().square().mean_dim(2) + 1e-2).sqrt()
                    * weight.clone().unsqueeze::<3>()
            );
        }
    }
}

#[test]
fn activations_and_gates() {
    let functions = [
        Function::Silu,
        Function::Gelu,
        Function::GeluTanh,
        Function::QuickGelu,
    ];
    let by_burn = |function: Function, x: Tensor<2>| match function {
        Function::Silu => activation::silu(x),
        Function::Gelu => activation::gelu(x),
        Function::GeluTanh => activation::gelu_approximate(x),
        Function::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
    };
    for path in Path::all() {
        for function in functions {
            for dims in [[1, 1], [3, 11], [130, 97]] {
                let what = format!("{path:?} {function:?} {dims:?}");
                let x = (random(dims) * 3.0).detach();
                compare!(
                    what,
                    [x],
                    map(path, function, &x, None).expect(&what),
                    by_burn(function, x.clone())
                );
                let (x, factor) = ((random(dims) * 3.0).detach(), random(dims));
                compare!(
                    what,
                    [x, factor],
                    map(path, function, &x, Some(&factor)).expect(&what),
                    by_burn(function, x.clone()) * factor.clone()
                );
            }
        }
    }
}

#[test]
fn rotary_positions() {
    for path in Path::all() {
        for (tables, heads, seq, half, rest) in
            [(1, 1, 1, 1, 0), (1, 3, 5, 4, 0), (2, 2, 70, 24, 3)]
        {
            let what = format!("{path:?} {heads} {seq} {half} {rest}");
            let x = random([2, seq, heads, 2 * half + rest]);
            let [cos, sin] = [0, 1].map(|_| random([tables, 1, seq, half]).inner());
            let by_burn = |x: Tensor<4>| {
                let first = x.clone().slice(s![.., .., .., ..half]);
                let second = x.clone().slice(s![.., .., .., half..2 * half]);
                let parts = vec![
                    first.clone() * cos.clone() - second.clone() * sin.clone(),
                    second * cos.clone() + first * sin.clone(),
                ];
                let turned = Tensor::cat(parts, 3);
                match rest {
                    0 => turned,
                    _ => Tensor::cat(vec![turned, x.slice(s![.., .., .., 2 * half..])], 3),
                }
            };
            compare!(
                what,
                [x],
                rotate(path, &x.clone().swap_dims(1, 2), &cos, &sin).expect(&what),
                by_burn(x.clone().swap_dims(1, 2))
            );
        }
    }
}

fn hides(dims: [usize; 4]) -> Tensor<4, Bool> {
    let [batch, _, queries, keys] = dims;
    let value = |index: usize| {
        let (row, key) = (index / keys, index % keys);
        key > 0 && (row + key * 7).is_multiple_of(3)
    };
    let values: Vec<bool> = (0..batch * queries * keys).map(value).collect();
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}

#[test]
fn attention_of_every_shape() {
    for path in Path::all() {
        for ([batch, heads, kv_heads], [queries, keys], head_dim, masked, causal) in [
            ([1, 1, 1], [1, 1], 1, false, false),
            ([2, 3, 3], [5, 5], 8, false, true),
            ([1, 4, 2], [20, 20], 48, false, true),
            ([2, 2, 1], [50, 50], 20, true, false),
            ([1, 6, 2], [33, 70], 64, true, false),
            ([1, 2, 2], [3, 100], 100, false, true),
            ([2, 1, 1], [97, 41], 16, false, false),
        ] {
            let what = format!("{path:?} {batch} {heads}/{kv_heads} {queries} {keys} {head_dim}");
            let query = random([batch, queries, heads, head_dim]);
            let key = random([batch, kv_heads, keys, head_dim]);
            let value = random([batch, keys, kv_heads, head_dim]);
            let hidden = masked.then(|| hides([batch, 1, queries, keys]));
            let by_burn = |query: Tensor<4>, key: Tensor<4>, value: Tensor<4>| {
                let group = heads / kv_heads;
                let repeat = |x: Tensor<4>| {
                    x.unsqueeze_dim::<5>(2)
                        .expand([batch, kv_heads, group, keys, head_dim])
                        .reshape([batch, heads, keys, head_dim])
                };
                let hidden = hidden.clone();
                let options = AttentionModuleOptions {
                    is_causal: causal,
                    ..Default::default()
                };
                let hidden = hidden.map(|hidden| hidden.expand([batch, heads, queries, keys]));
                module::attention(query, repeat(key), repeat(value), hidden, None, options)
            };
            compare!(
                what,
                [query, key, value],
                attention(
                    path,
                    &query.clone().swap_dims(1, 2),
                    &key,
                    &value.clone().swap_dims(1, 2),
                    hidden.as_ref(),
                    causal
                )
                .expect(&what),
                by_burn(
                    query.clone().swap_dims(1, 2),
                    key.clone(),
                    value.clone().swap_dims(1, 2)
                )
            );
        }
    }
}

#[test]
fn a_query_that_sees_nothing_has_no_gradient() {
    for path in Path::all() {
        let tensors = [0, 1, 2].map(|_| random([1, 1, 4, 8]).require_grad());
        let [query, key, value] = &tensors;
        let hidden: Vec<bool> = (0..16).map(|index| index / 4 == 2).collect();
        let hidden = TensorData::new(hidden, [1, 1, 4, 4]);
        let hidden = Tensor::from_data(hidden, &Device::flex());
        let y = attention(path, query, key, value, Some(&hidden), false).expect("a kernel");
        let gradients = y.sum().backward();
        let gradient = query.grad(&gradients).expect("a gradient");
        let lines: Vec<f32> = gradient
            .abs()
            .sum_dim(3)
            .into_data()
            .try_into_vec()
            .unwrap();
        assert_eq!(lines[2], 0.0, "{path:?}");
        assert!(lines.iter().all(|line| line.is_finite()));
    }
}
