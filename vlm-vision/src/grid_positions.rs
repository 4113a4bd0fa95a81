//! Which learned position a patch gets when the grid of patches is not the one that the table was made for.

use burn::config::Config;

/// How a grid of patches reads a table of positions that was made for a square grid.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum GridPositions {
    /// The table itself for its own grid, bicubic interpolation for every other, as in CLIP and SigLIP.
    Interpolated,
    /// The entry at the same fraction of the height and the width, as in
    /// [NaViT](https://arxiv.org/abs/2307.06304) and Idefics2. Rounding is part of it: on some sides (19, 25,
    /// 29 …) a patch gets its neighbour's position even where the grid is the table's own.
    Bucketed,
}

/// The row, or column, of a table with `side` of them for each of `patches` in a line.
///
/// Computed as the reference does, with torch's `arange` and `bucketize` in 32 bits.
pub(crate) fn buckets(patches: usize, side: usize) -> Vec<usize> {
    let boundaries = boundaries(side);
    let step = 1.0 / patches as f32;
    let bucket = |patch: usize| {
        let fraction = (patch as f32 * step).min((1.0 - 1e-6_f64) as f32);
        boundaries.partition_point(|boundary| *boundary <= fraction)
    };
    (0..patches).map(bucket).collect()
}

/// `torch.arange(1 / side, 1.0, 1 / side)` bit for bit: pairs of eight lanes count from a start that is
/// rounded to 32 bits, what is left over counts in 64 bits.
fn boundaries(side: usize) -> Vec<f32> {
    const LANES: usize = 8;
    let step = 1.0 / side as f64;
    let count = ((1.0 - step) / step).ceil() as usize;
    let in_lanes = count / (2 * LANES) * (2 * LANES);
    let exact = |index: usize| step + step * index as f64;
    let boundary = |index: usize| match index < in_lanes {
        true => f64::from(exact(index / LANES * LANES) as f32) + step * (index % LANES) as f64,
        false => exact(index),
    };
    (0..count).map(|index| boundary(index) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_grid_is_spread_over_the_table() {
        assert_eq!(buckets(4, 4), [0, 1, 2, 3]);
        assert_eq!(buckets(2, 4), [0, 2]);
        assert_eq!(buckets(3, 4), [0, 1, 2]);
        assert_eq!(buckets(5, 2), [0, 0, 0, 1, 1]);
        assert_eq!(buckets(3, 1), [0, 0, 0]);
    }

    #[test]
    fn rounding_is_the_reference_s() {
        // Of every own grid up to 64 patches a side, those on which torch 2.15 gives some patch its neighbour's position.
        let wrong = |side: usize| -> Vec<usize> {
            let found = buckets(side, side);
            (0..side).filter(|patch| found[*patch] != *patch).collect()
        };
        let expected: Vec<(usize, Vec<usize>)> = serde_json::from_str(OWN_GRIDS).unwrap();
        let found: Vec<(usize, Vec<usize>)> = (1..=64)
            .map(|side| (side, wrong(side)))
            .filter(|(_, patches)| !patches.is_empty())
            .collect();
        assert_eq!(found, expected);
    }

    /// `[side, patches]`, by running the formula in torch (`buckets` of `reference/idefics3.py`).
    const OWN_GRIDS: &str = "\
        [[19,[12]],[25,[5,9,10,11,12,13,15,18,20,23]],[29,[3,6,24]],[31,[17,21,25,29]],[38,\
        [12]],[40,[19]],[41,[7,10,11,14,15,19,25,27,28,29,30,32,33,35,38,40]],[43,[5,18,20,21,\
        40]],[47,[5,9,10,11,15,16,23,36,37,38,39,40,41,42,43,44,45,46]],[49,[7,10,14,17,19,20,\
        22,23,41,45,46,47]],[50,[5,9,10,11,12,13,15,18,20,21,23,27,30,33,35,36,38,39,40,43,46,\
        49]],[54,[44,45]],[55,[5,18,20,22,25,26,27,29,30,32,33,35,36,37,39,40,43,44,47,50,51,\
        54]],[58,[3,6,18,21,24]],[59,[28,29,31,34,36,39]],[61,[5,6,9,10,11,12,13,14,15,16,18,20,\
        21,23,24,26,29,33,35,36,38,39,40,43,46,49,51,52,54,55,57,58,59,60]],[62,[17,18,20,21,22,\
        24,25,26,28,29,30,33,34,35,36,37,39,40,41,42,43,44,45,47,48,49,50,53,57,58,61]]]";
}
