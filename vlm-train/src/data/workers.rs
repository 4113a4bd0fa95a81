use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use vlm_core::Error;

use super::Dataset;
use crate::Sample;

/// What became of a sample.
pub(super) type Outcome = Result<Option<Sample>, Error>;

/// The number of a step and its samples.
pub(super) type Wanted = (usize, Vec<usize>);

/// Threads that make samples.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    dataset: Arc<dyn Dataset>,
    state: Mutex<State>,
    // There is a job, or it is over.
    job: Condvar,
    // A sample is made.
    made: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    steps: BTreeMap<usize, Vec<Option<Made>>>,
    over: bool,
}

struct Job {
    step: usize,
    place: usize,
    index: usize,
}

/// An outcome, or the panic that was in its place.
type Made = Result<Outcome, Box<dyn Any + Send>>;

impl Workers {
    pub(super) fn new(dataset: Arc<dyn Dataset>, threads: usize) -> Self {
        let shared = Arc::new(Shared {
            dataset,
            state: Mutex::default(),
            job: Condvar::new(),
            made: Condvar::new(),
        });
        let start = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.work())
        };
        Self {
            threads: (0..threads).map(start).collect(),
            shared,
        }
    }

    /// The samples of a step, in order. Those of the steps that come after it are made meanwhile and later; what
    /// was begun for other steps is forgotten.
    pub(super) fn step(&self, step: Wanted, ahead: Vec<Wanted>) -> Vec<Outcome> {
        let (number, indices) = step;
        if self.threads.is_empty() {
            let sample = |index| self.shared.dataset.sample(index);
            return indices.into_iter().map(sample).collect();
        }
        let mut state = self.shared.lock();
        let last = number + ahead.len();
        state.steps.retain(|step, _| (number..=last).contains(step));
        state.jobs.retain(|job| (number..=last).contains(&job.step));
        for (step, indices) in std::iter::once((number, indices)).chain(ahead) {
            if state.steps.contains_key(&step) {
                continue;
            }
            let places = std::iter::repeat_with(|| None).take(indices.len());
            state.steps.insert(step, places.collect());
            let job = |(place, index)| Job { step, place, index };
            state.jobs.extend(indices.into_iter().enumerate().map(job));
        }
        self.shared.job.notify_all();
        let unfinished = |state: &mut State| state.steps[&number].iter().any(Option::is_none);
        let mut state = self
            .shared
            .made
            .wait_while(state, unfinished)
            .unwrap_or_else(PoisonError::into_inner);
        let made = state.steps.remove(&number).unwrap_or_default();
        drop(state);
        let outcomes = made.into_iter().flatten();
        outcomes
            .map(|made| made.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let idle = |state: &mut State| state.jobs.is_empty() && !state.over;
            let mut state = self
                .job
                .wait_while(self.lock(), idle)
                .unwrap_or_else(PoisonError::into_inner);
            let Some(job) = state.jobs.pop_front().filter(|_| !state.over) else {
                return;
            };
            drop(state);
            let made = catch_unwind(AssertUnwindSafe(|| self.dataset.sample(job.index)));
            if let Some(places) = self.lock().steps.get_mut(&job.step) {
                places[job.place] = Some(made);
            }
            self.made.notify_all();
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({})", self.threads.len())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.job.notify_all();
        for thread in self.threads.drain(..) {
            // A panic is the sample's and was handed on; there is nothing left to say.
            drop(thread.join());
        }
    }
}
