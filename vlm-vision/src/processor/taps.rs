//! The weights of a convolution along one axis.

use super::resample::Resample;

/// The weights of one axis, as 16-bit integers of [`Taps::precision`] fractional bits.
///
/// Torch, like Pillow-SIMD, gives weights the most bits with which the largest one still fits 16; the
/// sum of products is then the same integer in any order.
pub(super) struct Taps {
    pub precision: u32,
    spans: Vec<Span>,
    weights: Vec<i16>,
}

/// Which old pixels make one new pixel, and where their weights begin.
struct Span {
    first: usize,
    count: usize,
    weights: usize,
}

impl Taps {
    /// The weights that make `new` pixels of `old`.
    pub fn new(old: usize, new: usize, resample: Resample) -> Self {
        let scale = old as f64 / new as f64;
        let shrink = scale.max(1.0);
        let support = resample.support() * shrink;
        let mut spans = Vec::with_capacity(new);
        let mut exact = Vec::new();
        for i in 0..new {
            let centre = scale * (i as f64 + 0.5);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(old);
            let weights = exact.len();
            exact.extend(
                (first..end).map(|j| resample.kernel((j as f64 - centre + 0.5) * (1.0 / shrink))),
            );
            let total: f64 = exact[weights..].iter().sum();
            if total != 0.0 {
                exact[weights..]
                    .iter_mut()
                    .for_each(|weight| *weight /= total);
            }
            spans.push(Span {
                first,
                count: end - first,
                weights,
            });
        }
        let largest = exact.iter().copied().fold(0.0, f64::max);
        let fits = |bits: u32| ((0.5 + largest * f64::from(1 << bits)) as i32) < 1 << 15;
        let precision = (0..22).find(|bits| !fits(bits + 1)).unwrap_or(22);
        let unit = f64::from(1 << precision);
        let weights = exact
            .iter()
            .map(|weight| (weight * unit + 0.5_f64.copysign(*weight)) as i16)
            .collect();
        Self {
            precision,
            spans,
            weights,
        }
    }

    /// For each new pixel: its first old pixel, and the weights from there on.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[i16])> {
        self.spans
            .iter()
            .map(|span| (span.first, &self.weights[span.weights..][..span.count]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_take_as_many_bits_as_fit() {
        let halves = Taps::new(2, 4, Resample::Bilinear);
        let rows: Vec<_> = halves
            .iter()
            .map(|(first, weights)| (first, weights.to_vec()))
            .collect();
        let one = 1 << 14;
        let quarter = one / 4;
        let expected = [
            (0, vec![one]),
            (0, vec![one - quarter, quarter]),
            (0, vec![quarter, one - quarter]),
            (1, vec![one]),
        ];
        assert_eq!((halves.precision, rows), (14, expected.to_vec()));
    }

    #[test]
    fn shrinking_widens_the_window() {
        let taps = Taps::new(100, 10, Resample::Lanczos);
        let widest = taps.iter().map(|(_, weights)| weights.len()).max();
        assert_eq!((widest, taps.precision), (Some(60), 18));
    }
}
