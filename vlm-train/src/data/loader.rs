use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

use vlm_core::Error;

use super::{
    Dataset, Hints,
    workers::{Outcome, Workers},
};
use crate::{MicroBatch, Order, Sample};

/// How samples become steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Samples of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of a step.
    pub accumulation: usize,
    /// Where the shuffling begins; none keeps the order of the files.
    pub shuffle: Option<u64>,
    /// Whether like goes with like, see [`Order::epoch`]. Every record is read once for it.
    pub grouping: bool,
    /// Positions of a row into which several samples are packed; none gives each a row of its own.
    pub packing: Option<usize>,
    /// What happens to a sample that cannot be made.
    pub bad_samples: BadSamples,
    /// Threads that make samples. With none, [`Loader::step`] makes them itself.
    pub workers: usize,
    /// Steps that are made ahead.
    pub ahead: usize,
}

/// What happens to a sample that cannot be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadSamples {
    /// The step fails.
    #[default]
    Fatal,
    /// Its step has one sample less, and [`Loader::skipped`] tells of it.
    Skip,
}

impl LoaderConfig {
    /// Micro-batches of so many samples, one a step, in order, unpacked, bad samples fatal, a thread for each core,
    /// one step ahead.
    pub fn new(batch_size: usize) -> Self {
        Self {
            batch_size,
            accumulation: 1,
            shuffle: None,
            grouping: false,
            packing: None,
            bad_samples: BadSamples::default(),
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            ahead: 1,
        }
    }
}

/// From a dataset to the micro-batches of a step.
///
/// ```text
/// batch_size 2, accumulation 2, samples 0 1 2 3 4
///   step 0   [[0] [1]] [[2] [3]]       rows of one sample each, in two micro-batches
///   step 1   [[4]]                     a pass ends with what is left
///   step 2   [[0] [1]] [[2] [3]]       the next pass; shuffled anew where it is shuffled
///
/// packing 8, samples of 5, 4, 3 and 2 positions
///   step 0   [[0 2] [1 3]]             rows of at most 8 positions, the longest sample first
/// ```
///
/// A step is a function of the configuration and its number alone: not of the number of threads, nor of the steps
/// before. So a run goes on at any step at no cost, and a sample that is left out ([`BadSamples::Skip`],
/// [`TooLong::Drop`](super::TooLong::Drop)) leaves its place empty: nothing moves up, a step may have fewer
/// samples, a micro-batch without any is left out, and a step may have no micro-batch.
///
/// Packing works on the samples of a step, longest first, each going into the first row that has room for it. The
/// rows are then cut into micro-batches of `batch_size`, so that one is never larger than a full one without
/// packing. It saves padding and changes no loss.
///
/// Threads make the samples of the step that is asked for and of the next ones, each sample once.
#[derive(Debug)]
pub struct Loader {
    workers: Workers,
    order: Order,
    config: LoaderConfig,
    // Number of a pass and its order.
    epoch: Option<(usize, Vec<usize>)>,
    skipped: Vec<Error>,
    known_bad: BTreeSet<usize>,
    dropped: BTreeSet<usize>,
}

impl Loader {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When there is no sample, or a number is 0 that must not be.
    pub fn new(dataset: impl Dataset + 'static, config: LoaderConfig) -> Result<Self, Error> {
        let refuse = |message: &str| Err(Error::Request(message.to_owned()));
        if dataset.is_empty() {
            return refuse("there is no sample: expected one or more");
        }
        if config.batch_size == 0 || config.accumulation == 0 {
            return refuse(
                "a step has no sample: expected a batch size and an accumulation of 1 or more",
            );
        }
        if config.packing == Some(0) {
            return refuse(
                "rows of 0 positions hold no sample: expected a packing length of 1 or more",
            );
        }
        let hints = || all_hints(&dataset, config.workers.max(1));
        let order = Order {
            samples: dataset.len(),
            batch_size: config.batch_size,
            accumulation: config.accumulation,
            shuffle: config.shuffle,
            grouping: config.grouping.then(hints),
        };
        Ok(Self {
            workers: Workers::new(Arc::new(dataset), config.workers),
            order,
            config,
            epoch: None,
            skipped: Vec::new(),
            known_bad: BTreeSet::new(),
            dropped: BTreeSet::new(),
        })
    }

    /// Steps of one pass over the data.
    pub fn steps_per_epoch(&self) -> usize {
        self.order.steps_per_epoch()
    }

    /// Which samples a step takes.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The micro-batches of a step, counted from 0.
    ///
    /// # Errors
    ///
    /// When a sample cannot be made and that is [`BadSamples::Fatal`]: the first such sample of the step.
    pub fn step(&mut self, step: usize) -> Result<Vec<MicroBatch>, Error> {
        let batches = self.indices(step);
        let ahead =
            (step + 1..=step + self.config.ahead).map(|step| (step, self.indices(step).concat()));
        let ahead: Vec<_> = ahead.collect();
        let outcomes = self.workers.step((step, batches.concat()), ahead);
        let mut outcomes = batches.concat().into_iter().zip(outcomes);
        let mut samples = Vec::with_capacity(batches.len());
        for batch in &batches {
            let mut made = Vec::with_capacity(batch.len());
            for (index, outcome) in outcomes.by_ref().take(batch.len()) {
                made.extend(self.judge(index, outcome)?);
            }
            samples.push(made);
        }
        Ok(match self.config.packing {
            Some(length) => pack(samples.concat(), length, self.config.batch_size),
            None => {
                let samples = samples.into_iter().filter(|batch| !batch.is_empty());
                samples.map(MicroBatch::padded).collect()
            }
        })
    }

    /// Errors of the samples that were skipped since this was last asked, each sample's once.
    pub fn skipped(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.skipped)
    }

    /// How many different samples were left out by choice in the steps so far.
    pub fn dropped(&self) -> usize {
        self.dropped.len()
    }

    fn judge(&mut self, index: usize, outcome: Outcome) -> Result<Option<Sample>, Error> {
        match (outcome, self.config.bad_samples) {
            (Err(error), BadSamples::Skip) => {
                if self.known_bad.insert(index) {
                    self.skipped.push(error);
                }
                Ok(None)
            }
            (Ok(None), _) => {
                self.dropped.insert(index);
                Ok(None)
            }
            (outcome, _) => outcome,
        }
    }

    fn indices(&mut self, step: usize) -> Vec<Vec<usize>> {
        let steps = self.order.steps_per_epoch();
        let epoch = step / steps;
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.epoch = Some((epoch, self.order.epoch(epoch)));
        }
        let (_, samples) = self.epoch.as_ref().expect("it was just made");
        self.order.step_of(samples, step % steps)
    }
}

fn all_hints(dataset: &impl Dataset, threads: usize) -> Arc<[Hints]> {
    let samples = dataset.len();
    let share = samples.div_ceil(threads);
    let mut hints = vec![Hints::default(); samples];
    std::thread::scope(|scope| {
        for (part, hints) in hints.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                for (index, hint) in hints.iter_mut().enumerate() {
                    *hint = dataset.hints(part * share + index);
                }
            });
        }
    });
    hints.into()
}

/// Rows of at most `length` positions, in micro-batches of `batch_size` rows.
fn pack(mut samples: Vec<Sample>, length: usize, batch_size: usize) -> Vec<MicroBatch> {
    samples.sort_by_key(|sample| std::cmp::Reverse(sample.sequence.len()));
    let rows = MicroBatch::packed(samples, length).rows;
    let mut rows = rows.into_iter().peekable();
    std::iter::from_fn(|| {
        rows.peek()?;
        Some(MicroBatch {
            rows: rows.by_ref().take(batch_size).collect(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use vlm_core::Sequence;

    use super::*;

    /// Sample `n` says `n` as often as it is long; some take longer to make than others.
    struct Fake {
        samples: usize,
        bad: &'static [usize],
        left_out: &'static [usize],
        panics: Option<usize>,
        made: Arc<AtomicUsize>,
    }

    fn length(index: usize) -> usize {
        index * 5 % 7 + 2
    }

    impl Dataset for Fake {
        fn len(&self) -> usize {
            self.samples
        }

        fn sample(&self, index: usize) -> Result<Option<Sample>, Error> {
            self.made.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(index as u64 * 7919 % 300));
            assert_ne!(self.panics, Some(index), "sample {index} panics");
            if self.bad.contains(&index) {
                return Err(Error::Request(format!("sample {index} is bad")));
            }
            let ids = vec![index as u32; length(index)];
            let sample = Sample::new(Sequence::text(&ids), Vec::new(), |_| true);
            Ok((!self.left_out.contains(&index)).then_some(sample))
        }

        fn hints(&self, index: usize) -> Hints {
            Hints {
                pictures: index % 2,
                words: length(index),
            }
        }
    }

    fn fake() -> Fake {
        Fake {
            samples: 23,
            bad: &[],
            left_out: &[],
            panics: None,
            made: Arc::default(),
        }
    }

    fn config() -> LoaderConfig {
        LoaderConfig {
            accumulation: 2,
            shuffle: Some(1),
            ..LoaderConfig::new(3)
        }
    }

    /// First ids of the samples of each row of each micro-batch.
    fn rows(batches: &[MicroBatch]) -> Vec<Vec<Vec<usize>>> {
        let id = |sample: &Sample| sample.sequence.slots[0].id as usize;
        let row = |row: &Vec<Sample>| row.iter().map(id).collect();
        let batch = |batch: &MicroBatch| batch.rows.iter().map(row).collect();
        batches.iter().map(batch).collect()
    }

    fn steps(
        dataset: Fake,
        config: LoaderConfig,
        steps: std::ops::Range<usize>,
    ) -> Vec<Vec<Vec<Vec<usize>>>> {
        let mut loader = Loader::new(dataset, config).unwrap();
        steps
            .map(|step| rows(&loader.step(step).unwrap()))
            .collect()
    }

    #[test]
    fn steps_depend_neither_on_threads_nor_on_the_steps_before() {
        for (grouping, packing) in [(false, None), (true, None), (true, Some(9))] {
            let config = LoaderConfig {
                grouping,
                packing,
                ..config()
            };
            let with = |workers| LoaderConfig {
                workers,
                ..config.clone()
            };
            let alone = steps(fake(), with(0), 0..10);
            for workers in [1, 2, 5] {
                assert_eq!(steps(fake(), with(workers), 0..10), alone);
                assert_eq!(steps(fake(), with(workers), 6..10), alone[6..]);
            }
            let mut loader = Loader::new(fake(), with(2)).unwrap();
            for step in [3, 0, 9, 9, 8, 1] {
                assert_eq!(rows(&loader.step(step).unwrap()), alone[step]);
            }
        }
    }

    #[test]
    fn a_pass_has_every_sample_once_and_makes_it_once() {
        let dataset = fake();
        let made = dataset.made.clone();
        let mut loader = Loader::new(dataset, config()).unwrap();
        let mut all = Vec::new();
        for step in 0..4 {
            all.extend(rows(&loader.step(step).unwrap()).concat().concat());
            // Time for the threads to make the next step.
            std::thread::sleep(Duration::from_millis(20));
        }
        all.sort_unstable();
        assert_eq!(all, (0..23).collect::<Vec<_>>());
        // Those of the next pass's first step may have been made ahead.
        let made = made.load(Ordering::Relaxed);
        assert!((23..=29).contains(&made), "{made}");
    }

    #[test]
    fn what_is_left_out_leaves_its_place_empty() {
        let whole = steps(fake(), config(), 0..4);
        let dataset = Fake {
            bad: &[3, 7],
            left_out: &[11],
            ..fake()
        };
        let config = LoaderConfig {
            bad_samples: BadSamples::Skip,
            ..config()
        };
        let mut loader = Loader::new(dataset, config).unwrap();
        for (step, whole) in whole.iter().enumerate() {
            let kept = |row: &Vec<usize>| ![3, 7, 11].contains(&row[0]);
            let batches = whole
                .iter()
                .map(|batch| batch.iter().filter(|row| kept(row)).cloned());
            let batches: Vec<Vec<_>> = batches.map(Iterator::collect).collect();
            assert_eq!(rows(&loader.step(step).unwrap()), batches);
        }
        let mut skipped: Vec<String> = loader.skipped().iter().map(Error::to_string).collect();
        skipped.sort();
        assert_eq!(skipped, ["sample 3 is bad", "sample 7 is bad"]);
        for step in 4..8 {
            loader.step(step).unwrap();
        }
        assert!(loader.skipped().is_empty());
        assert_eq!(loader.dropped(), 1);
    }

    #[test]
    fn a_bad_sample_is_fatal_in_its_own_step() {
        let dataset = || Fake {
            bad: &[4],
            ..fake()
        };
        let config = LoaderConfig {
            shuffle: None,
            ..config()
        };
        let mut loader = Loader::new(dataset(), config.clone()).unwrap();
        let error = loader.step(0).unwrap_err();
        assert_eq!(error.to_string(), "sample 4 is bad");
        assert_eq!(rows(&loader.step(1).unwrap())[0], [[6], [7], [8]]);

        let config = LoaderConfig {
            batch_size: 1,
            accumulation: 1,
            bad_samples: BadSamples::Skip,
            ..config
        };
        let mut loader = Loader::new(dataset(), config).unwrap();
        assert!(loader.step(4).unwrap().is_empty());
    }

    #[test]
    fn packed_rows_are_full_and_no_more_than_a_batch() {
        let config = LoaderConfig {
            shuffle: None,
            packing: Some(9),
            ..config()
        };
        // Samples 0 to 5 have 2, 7, 5, 3, 8 and 6 positions.
        assert_eq!(
            steps(fake(), config.clone(), 0..1),
            [[vec![vec![4], vec![1, 0], vec![5, 3]], vec![vec![2]]]]
        );
        let tokens = |config| {
            let batches = Loader::new(fake(), config).unwrap().step(1).unwrap();
            batches.iter().map(MicroBatch::tokens).sum::<usize>()
        };
        let unpacked = LoaderConfig {
            packing: None,
            ..config.clone()
        };
        assert_eq!(tokens(config), tokens(unpacked));
    }

    #[test]
    fn a_panic_is_handed_on() {
        let dataset = Fake {
            panics: Some(2),
            ..fake()
        };
        let config = LoaderConfig {
            shuffle: None,
            workers: 2,
            ..config()
        };
        let mut loader = Loader::new(dataset, config).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| loader.step(0).is_ok())).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("sample 2 panics"), "{message}");
    }

    #[test]
    fn nothing_to_take_is_refused() {
        let refused = |dataset, config| Loader::new(dataset, config).unwrap_err().to_string();
        let empty = Fake {
            samples: 0,
            ..fake()
        };
        assert!(refused(empty, config()).starts_with("there is no sample"));
        assert!(refused(fake(), LoaderConfig::new(0)).starts_with("a step has no sample"));
    }
}
