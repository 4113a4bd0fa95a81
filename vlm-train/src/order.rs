/// Which samples a step takes: a function of the seed and the step alone, so that a run can go on anywhere.
///
/// Every pass shuffles anew. A pass ends with a smaller step where it does not come out even, as in
/// transformers' trainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Number of samples.
    pub samples: usize,
    /// Samples of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of a step.
    pub accumulation: usize,
    /// Where the shuffling begins; none keeps the order.
    pub shuffle: Option<u64>,
}

impl Order {
    /// Steps of one pass over the data.
    pub fn steps_per_epoch(&self) -> usize {
        self.samples.div_ceil(self.batch_size * self.accumulation)
    }

    /// The samples of a step, counted from 0, in micro-batches.
    ///
    /// # Panics
    ///
    /// When there are no samples.
    pub fn step(&self, step: usize) -> Vec<Vec<usize>> {
        assert!(self.samples > 0, "there is nothing to train on");
        let steps = self.steps_per_epoch();
        let order = self.epoch(step / steps);
        let size = self.batch_size * self.accumulation;
        let first = step % steps * size;
        let samples = &order[first..(first + size).min(order.len())];
        samples
            .chunks(self.batch_size)
            .map(<[usize]>::to_vec)
            .collect()
    }

    fn epoch(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.samples).collect();
        if let Some(seed) = self.shuffle {
            let mut state = mix(seed ^ mix(epoch as u64));
            for last in (1..order.len()).rev() {
                state = state.wrapping_add(GOLDEN);
                order.swap(last, (mix(state) % (last as u64 + 1)) as usize);
            }
        }
        order
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function: the same numbers in every version of every library.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(GOLDEN);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_takes_every_sample_once_in_another_order() {
        let order = Order {
            samples: 7,
            batch_size: 2,
            accumulation: 2,
            shuffle: Some(3),
        };
        assert_eq!(order.steps_per_epoch(), 2);
        let pass = |epoch: usize| [order.step(2 * epoch), order.step(2 * epoch + 1)].concat();
        for epoch in 0..3 {
            let mut all = pass(epoch).concat();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(pass(0), pass(1));
        let plain = Order {
            shuffle: None,
            ..order
        };
        assert_eq!(plain.step(1), [vec![4, 5], vec![6]]);
    }
}
