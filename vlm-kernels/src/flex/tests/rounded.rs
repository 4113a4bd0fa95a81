//! Rounded weights and tables.

use super::*;

#[test]
fn products_with_rounded_weights() {
    everywhere(|path, dtype, tolerance| {
        for (quantization, steps) in [(Quantization::Int8, 254.0), (Quantization::Int4, 15.0)] {
            for (rows, inputs, outputs) in [
                (1, 32, 1),
                (1, 576, 37),
                (3, 96, 10),
                (2, 544, 6),
                (8, 1056, 5),
                (20, 1152, 9),
                (60, 64, 33),
            ] {
                let what =
                    format!("{path:?} {dtype:?} {quantization:?} {rows} × {inputs} × {outputs}");
                // Not around zero everywhere.
                let weight =
                    (random([outputs, inputs]) + random([outputs, 1])) / (inputs as f32).sqrt();
                let rounded = quantization.quantize(weight.clone().into_data(), &Device::flex());
                let rounded = rounded.unwrap();
                assert_eq!(rounded.dims(), [inputs, outputs]);
                let plain = Quantization::dequantize(&rounded, FloatDType::F32).unwrap();
                // Half a step away at most with 8 bits; with 4, a quarter on the whole, which of few numbers is
                // known less well: five standard deviations of the mean of evenly spread errors.
                let mean_spread = 5.0 / (48.0 * (outputs * inputs) as f32).sqrt();
                let groups = weight.clone().reshape([outputs * inputs / 32, 32]);
                let range = match quantization {
                    Quantization::Int8 => groups.clone().abs().max_dim(1) * 2.0,
                    Quantization::Int4 => groups.clone().max_dim(1) - groups.clone().min_dim(1),
                };
                let rows_of_groups = plain
                    .clone()
                    .transpose()
                    .reshape([outputs * inputs / 32, 32]);
                let off = (rows_of_groups - groups).abs() / (range / steps);
                let [most, mean] = [off.clone().max(), off.mean()].map(|x| x.into_scalar::<f32>());
                match quantization {
                    Quantization::Int8 => assert!(most <= 0.51, "{what}: {most}"),
                    Quantization::Int4 => assert!(mean <= 0.26 + mean_spread, "{what}: {mean}"),
                }
                let x = random([1, rows, inputs]).cast(dtype);
                let bias = random([outputs]).cast(dtype);
                let wide = bias.clone().cast(DType::F32);
                let expected = module::linear(x.clone().cast(DType::F32), plain, Some(wide));
                // Several at once, too.
                let layers = [(&rounded, Some(&bias)), (&rounded, None)];
                let [found, other] = linears(path, &x, layers).expect(&what);
                // Many rows are multiplied as brain floats where the processor can.
                let brain = path == Path::Avx512Bf16 && rows > FEW;
                let tolerance = if brain { BF16 } else { tolerance.max(WHOLE) };
                let wide = bias.unsqueeze::<3>().cast(DType::F32);
                assert_near(found, expected.clone(), tolerance, &what);
                assert_near(other, expected - wide, tolerance, &what);
            }
        }
    });
}

#[test]
fn rounded_tables() {
    everywhere(|path, dtype, tolerance| {
        for quantization in [Quantization::Int8, Quantization::Int4] {
            let table = (random([50, 96]) / 96f32.sqrt()).cast(dtype);
            let rows = quantization.rows([50, 96], FloatDType::from(dtype), &Device::flex());
            let mut rows = rows.unwrap();
            rows.push(&table.into_data());
            let table = rows.finish_table();
            assert_eq!(table.dims(), [50, 96]);
            let plain = Quantization::dequantize(&table, FloatDType::F32).unwrap();
            assert_eq!(plain.dims(), [50, 96]);
            let ids = Tensor::<2, Int>::from_ints([[3, 49, 0], [3, 7, 8]], &Device::flex());
            let found = crate::table_rows(table.clone(), ids.clone());
            assert_eq!(found.dtype(), dtype);
            let expected = module::embedding(plain.clone(), ids);
            assert_near(found, expected, tolerance, "rows");
            for count in [1, 3, 20] {
                let what = format!("{path:?} {dtype:?} {quantization:?} {count}");
                let x = random([1, count, 96]).cast(dtype);
                let expected = x
                    .clone()
                    .cast(DType::F32)
                    .matmul(plain.clone().transpose().unsqueeze());
                let brain = path == Path::Avx512Bf16 && count > FEW;
                let tolerance = if brain { BF16 } else { tolerance.max(WHOLE) };
                let found = table_scores(path, &x, &table);
                assert_near(found.expect(&what), expected.clone(), tolerance, &what);
                let found = crate::table_scores(x.autodiff(), table.clone());
                assert_near(found.inner(), expected, tolerance.max(BF16), &what);
            }
            // A weight is no table, and a table no weight.
            let x = random([1, 1, 50]);
            assert!(linears(path, &x, [(&table, None)]).is_none());
        }
    });
}

#[test]
fn numbers_that_four_bits_hold_stay() {
    let line = random([3, 1]).abs() + 0.5;
    let codes = Tensor::<1>::from_floats([0.0; 64], &Device::flex()).reshape([1, 64]);
    let steps = (0..64)
        .map(|index| ((7 * index) % 16) as f32)
        .collect::<Vec<_>>();
    let codes = codes + Tensor::<1>::from_floats(&steps[..], &Device::flex()).reshape([1, 64]);
    let steps = (codes - 5.0).expand([3, 64]);
    let weight = steps.clone() * line.clone();
    let rounded = Quantization::Int4.quantize(weight.into_data(), &Device::flex());
    let found = Quantization::dequantize(&rounded.unwrap(), FloatDType::F32).unwrap();
    // Factor and shift are floats of 16 bits: the one is off by as much as 2⁻¹¹ of 15 steps, the other of 5.
    assert_near(found.transpose() / line, steps, 20.0 / 2048.0, "four bits");
}

#[test]
fn burn_finds_no_number_in_a_rounded_weight() {
    let weight = random([4, 64]).into_data();
    let rounded = Quantization::Int4
        .quantize(weight, &Device::flex())
        .unwrap();
    let found = rounded.dequantize().into_data();
    let found: Vec<f32> = found.try_into_vec().unwrap();
    assert!(found.len() == 256 && found.iter().all(|number| number.is_nan()));
}

#[test]
fn rows_that_are_no_groups_are_given_back() {
    let rows = random([3, 33]).into_data();
    let back = Quantization::Int8.quantize(rows.clone(), &Device::flex());
    assert_eq!(back.unwrap_err(), rows);
}

#[test]
fn rows_are_rounded_alike_together_and_apart() {
    let weight = random([70, 64]).into_data();
    let device = Device::flex();
    let values = weight.as_slice::<f32>().unwrap();
    for quantization in [Quantization::Int8, Quantization::Int4] {
        let whole = quantization.quantize(weight.clone(), &device);
        let rows = quantization.rows([70, 64], FloatDType::F32, &device);
        let mut rows = rows.unwrap();
        for part in [0..1, 1..40, 40..70] {
            let part = &values[part.start * 64..part.end * 64];
            rows.push(&TensorData::new(part.to_vec(), [part.len() / 64, 64]));
        }
        let plain = |weight: Tensor<2>| {
            let floats = Quantization::dequantize(&weight, FloatDType::F32);
            floats.expect("of our making").into_data()
        };
        assert_eq!(plain(rows.finish()), plain(whole.unwrap()));
    }
}

#[test]
fn a_rounded_weight_serves_under_autodiff() {
    let weight = random([8, 64]) / 8.0;
    let rounded = Quantization::Int8.quantize(weight.into_data(), &Device::flex());
    let rounded = rounded.unwrap();
    let x = random([1, 2, 64]);
    let expected = crate::linear(x.clone(), rounded.clone(), None);
    let found = crate::linear(x.clone().autodiff().require_grad(), rounded.clone(), None);
    assert_near(found.inner(), expected.clone(), WHOLE, "autodiff");
    let found = crate::linear(x.autodiff(), rounded.autodiff(), None);
    assert_near(
        found.inner(),
        expected,
        WHOLE,
        "a weight that is autodiff's",
    );
}
