use std::sync::Arc;

use crate::data::Hints;

/// Which samples a step takes: a function of the seed and the step alone, so that a run can go on anywhere.
///
/// Every pass shuffles anew. A pass ends with a smaller step where it does not come out even, as in
/// transformers' trainer.
///
/// ```
/// use vlm_train::Order;
///
/// let order = Order { samples: 5, batch_size: 1, accumulation: 2, ..Order::default() };
/// assert_eq!(order.steps_per_epoch(), 3);
/// assert_eq!(order.step(0), [[0], [1]]);
/// assert_eq!(order.step(2), [[4]]);
/// assert_eq!(order.step(3), [[0], [1]]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Number of samples.
    pub samples: usize,
    /// Samples of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of a step.
    pub accumulation: usize,
    /// Where the shuffling begins; none keeps the order.
    pub shuffle: Option<u64>,
    /// Of each sample, whether it has pictures and about how long it is: then a step takes samples with pictures
    /// or samples without, see [`Order::epoch`].
    pub grouping: Option<Arc<[Hints]>>,
}

impl Default for Order {
    /// No sample, one a step, in order.
    fn default() -> Self {
        Self {
            samples: 0,
            batch_size: 1,
            accumulation: 1,
            shuffle: None,
            grouping: None,
        }
    }
}

impl Order {
    /// Samples of a full step.
    pub fn samples_per_step(&self) -> usize {
        self.batch_size * self.accumulation
    }

    /// Steps of one pass over the data.
    pub fn steps_per_epoch(&self) -> usize {
        self.samples.div_ceil(self.samples_per_step())
    }

    /// The samples of a step, counted from 0, in micro-batches.
    ///
    /// # Panics
    ///
    /// When there are no samples.
    pub fn step(&self, step: usize) -> Vec<Vec<usize>> {
        assert!(self.samples > 0, "there is nothing to train on");
        let steps = self.steps_per_epoch();
        self.step_of(&self.epoch(step / steps), step % steps)
    }

    /// The samples of a step of a pass whose [`epoch`](Self::epoch) is known; steps are counted from the pass's
    /// first.
    pub fn step_of(&self, epoch: &[usize], step: usize) -> Vec<Vec<usize>> {
        let samples = epoch.chunks(self.samples_per_step()).nth(step);
        let batches = samples.unwrap_or_default().chunks(self.batch_size);
        batches.map(<[usize]>::to_vec).collect()
    }

    /// All the samples of a pass, each once, in the order in which it takes them.
    ///
    /// With [`grouping`](Self::grouping), as in LLaVA's `group_by_modality_length`: the samples with pictures and
    /// those without are shuffled apart and cut into steps, in each of which the longest come first, so that
    /// the samples of a micro-batch are of like length. The steps are shuffled; what did not fill a step of either
    /// kind comes at the end, together. (LLaVA deals the samples of a step out evenly over its devices.)
    ///
    /// ```text
    /// with pictures  0 1 2 3 4    without  5 6 7    two a step    ->    [6 5] [3 1] [0 4] | [2 7]
    /// ```
    pub fn epoch(&self, epoch: usize) -> Vec<usize> {
        let mut random = self
            .shuffle
            .map(|seed| SplitMix(mix(seed ^ mix(epoch as u64))));
        let mut shuffle = |order: &mut [usize]| {
            if let Some(random) = &mut random {
                random.shuffle(order);
            }
        };
        let Some(hints) = &self.grouping else {
            let mut order: Vec<usize> = (0..self.samples).collect();
            shuffle(&mut order);
            return order;
        };
        let has_pictures = |index: &usize| hints[*index].pictures > 0;
        let (mut with, mut without): (Vec<usize>, Vec<usize>) =
            (0..self.samples).partition(has_pictures);
        shuffle(&mut with);
        shuffle(&mut without);
        let steps =
            [&with[..], &without[..]].map(|kind| kind.chunks_exact(self.samples_per_step()));
        let rest: Vec<usize> = steps
            .iter()
            .flat_map(|kind| kind.remainder())
            .copied()
            .collect();
        let steps: Vec<&[usize]> = steps.into_iter().flatten().collect();
        let mut places: Vec<usize> = (0..steps.len()).collect();
        shuffle(&mut places);
        let steps = places.into_iter().map(|place| steps[place]);
        let rest = rest.chunks(self.samples_per_step());
        let longest_first = |step: &[usize]| {
            let mut step = step.to_vec();
            step.sort_by_key(|index| std::cmp::Reverse(hints[*index].length()));
            step
        };
        steps.chain(rest).flat_map(longest_first).collect()
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64: the same numbers in every version of every library.
struct SplitMix(u64);

impl SplitMix {
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            self.0 = self.0.wrapping_add(GOLDEN);
            order.swap(last, (mix(self.0) % (last as u64 + 1)) as usize);
        }
    }
}

fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(GOLDEN);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            samples: 7,
            batch_size: 2,
            accumulation: 2,
            shuffle: Some(3),
            grouping: None,
        }
    }

    fn sorted(mut order: Vec<usize>) -> Vec<usize> {
        order.sort_unstable();
        order
    }

    #[test]
    fn every_pass_takes_every_sample_once_in_another_order() {
        let order = order();
        assert_eq!(order.steps_per_epoch(), 2);
        let pass = |epoch: usize| [order.step(2 * epoch), order.step(2 * epoch + 1)].concat();
        for epoch in 0..3 {
            assert_eq!(sorted(pass(epoch).concat()), [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(pass(0), pass(1));
        let plain = Order {
            shuffle: None,
            ..order
        };
        assert_eq!(plain.step(1), [vec![4, 5], vec![6]]);
    }

    #[test]
    fn every_sample_once_a_pass_whatever_the_sizes() {
        for (samples, batch_size, accumulation, kinds) in (1..30).flat_map(|samples| {
            let sizes = [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (7, 1), (40, 1)];
            sizes.into_iter().flat_map(move |(batch, accumulation)| {
                (0..4).map(move |kinds| (samples, batch, accumulation, kinds))
            })
        }) {
            let hint = |index| Hints {
                pictures: usize::from(index % kinds == 0),
                words: index % 5,
            };
            let order = Order {
                samples,
                batch_size,
                accumulation,
                shuffle: Some(samples as u64),
                grouping: (kinds > 0).then(|| (0..samples).map(hint).collect()),
            };
            let steps: Vec<_> = (0..order.steps_per_epoch())
                .map(|step| order.step(step))
                .collect();
            let (last, full) = steps.split_last().unwrap();
            let size = |step: &Vec<Vec<usize>>| step.concat().len();
            assert!(
                full.iter()
                    .all(|step| size(step) == batch_size * accumulation)
            );
            assert!(last.iter().flatten().count() > 0);
            assert_eq!(
                sorted(steps.concat().concat()),
                (0..samples).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_step_has_pictures_or_none_and_its_longest_samples_come_first() {
        let hints: Vec<Hints> = (0..23)
            .map(|index| Hints {
                pictures: usize::from(index % 3 > 0),
                words: index * 7 % 11,
            })
            .collect();
        let order = Order {
            samples: hints.len(),
            grouping: Some(hints.clone().into()),
            ..order()
        };
        assert_ne!(order.epoch(0), order.epoch(1));
        for epoch in 0..4 {
            let pass = order.epoch(epoch);
            assert_eq!(sorted(pass.clone()), (0..23).collect::<Vec<_>>());
            // 15 with pictures and 8 without: three and two full steps; the rest is mixed.
            for step in pass[..20].chunks(4) {
                let pictures = |index: &usize| hints[*index].pictures;
                assert!(
                    step.iter()
                        .all(|index| pictures(index) == pictures(&step[0]))
                );
            }
            for step in pass.chunks(4) {
                assert!(step.is_sorted_by_key(|index| std::cmp::Reverse(hints[*index].length())));
            }
        }
    }
}
