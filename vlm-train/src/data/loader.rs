use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

use vlm_core::Error;

use super::{
    Dataset,
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
    /// Micro-batches of so many samples, one a step, in order, unpacked, bad samples fatal, a thread for each core.
    pub fn new(batch_size: usize) -> Self {
        Self {
            batch_size,
            accumulation: 1,
            shuffle: None,
            grouping: false,
            packing: None,
            bad_samples: BadSamples::default(),
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            ahead: 2,
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
        let samples = dataset.len();
        let hints = || (0..samples).map(|index| dataset.hints(index)).collect();
        let order = Order {
            samples,
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

    fn judge(&mut self, index: usize, outcome: Outcome) -> Result<Option<Sample>, Error> {
        match (outcome, self.config.bad_samples) {
            (Err(error), BadSamples::Skip) => {
                if self.known_bad.insert(index) {
                    self.skipped.push(error);
                }
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
