//! Threads that share one product.
//!
//! A decoding step is some two hundred products of a few microseconds each. A thread that sleeps between two
//! of them wakes up too late for the second, so the threads here look out for work a little while before they
//! sleep.
//!
//! Each thread has chunks of its own that follow one another and helps others when it is done: memory that every
//! thread reads on its own is read a quarter faster than memory whose every other piece is another thread's.

use std::{
    cell::UnsafeCell,
    hint::spin_loop,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, OnceLock, TryLockError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
};

/// Turns that a thread looks out for work before it sleeps, some 100 µs.
const TURNS: usize = 5_000;
/// Set in `state` while chunks of a job may be taken; the other bits count the threads inside.
const OPEN: u32 = 1 << 31;

type Body<'a> = dyn Fn(usize) + Sync + 'a;

struct Pool {
    // Held by the thread whose job runs.
    owner: Mutex<()>,
    job: UnsafeCell<Option<Job>>,
    state: AtomicU32,
    number: AtomicUsize,
    workers: OnceLock<Vec<Worker>>,
    // The next chunk of each thread's own.
    next: OnceLock<Box<[Next]>>,
}

/// On a cache line of its own, as each thread counts its own up.
#[derive(Default)]
#[repr(align(128))]
struct Next(AtomicUsize);

struct Job {
    body: *const Body<'static>,
    next: &'static [Next],
    chunks: usize,
    panicked: AtomicBool,
}

struct Worker {
    thread: Thread,
    asleep: &'static AtomicBool,
}

// SAFETY: `job` is written by the holder of `owner` alone, and only while `state` says that no thread reads it.
unsafe impl Sync for Pool {}
// SAFETY: what a job points at is `Sync`, and outlives the job (see `parallel`).
unsafe impl Send for Pool {}

static POOL: Pool = Pool {
    owner: Mutex::new(()),
    job: UnsafeCell::new(None),
    state: AtomicU32::new(0),
    number: AtomicUsize::new(0),
    workers: OnceLock::new(),
    next: OnceLock::new(),
};

/// Number of threads that share work: rayon's, so one variable (`RAYON_NUM_THREADS`) rules both.
pub fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(rayon::current_num_threads)
}

/// Calls `body` with each number below `chunks`, on all threads; returns when all calls have.
///
/// Called while another job runs, it does the work alone.
pub fn parallel(chunks: usize, body: &Body<'_>) {
    let alone = || (0..chunks).for_each(body);
    if chunks < 2 || threads() < 2 {
        return alone();
    }
    let _owner = match POOL.owner.try_lock() {
        Ok(owner) => owner,
        // What the lock guards is written anew by each job.
        Err(TryLockError::Poisoned(owner)) => owner.into_inner(),
        Err(TryLockError::WouldBlock) => return alone(),
    };
    let workers = POOL.workers.get_or_init(start);
    let next = POOL
        .next
        .get_or_init(|| (0..threads()).map(|_| Next::default()).collect());
    for (thread, next) in next.iter().enumerate() {
        next.0.store(thread * chunks / threads(), Ordering::Relaxed);
    }
    // SAFETY: the lifetime ends when this function returns, and `Closing` waits before that, by a panic too,
    // until no thread is inside the job.
    let body: *const Body<'static> = unsafe { std::mem::transmute(body as *const Body<'_>) };
    let job = Job {
        body,
        next,
        chunks,
        panicked: AtomicBool::new(false),
    };
    // SAFETY: `owner` is held and `state` is 0, so no thread reads the job.
    unsafe { *POOL.job.get() = Some(job) };
    let closing = Closing;
    POOL.state.store(OPEN, Ordering::Release);
    POOL.number.fetch_add(1, Ordering::SeqCst);
    for worker in workers {
        if worker.asleep.swap(false, Ordering::SeqCst) {
            worker.thread.unpark();
        }
    }
    // SAFETY: written above, and not again before `owner` is free.
    let job = unsafe { (*POOL.job.get()).as_ref() }.expect("written above");
    run(job, 0);
    drop(closing);
    assert!(
        !job.panicked.load(Ordering::Relaxed),
        "a thread panicked in its share of the work"
    );
}

/// Lets no more threads in and waits for those inside.
struct Closing;

impl Drop for Closing {
    fn drop(&mut self) {
        POOL.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0;
        while POOL.state.load(Ordering::Acquire) != 0 {
            turns += 1;
            match turns < TURNS {
                true => spin_loop(),
                // More threads than cores: whoever is inside may need this one.
                false => thread::yield_now(),
            }
        }
    }
}

struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        POOL.state.fetch_sub(1, Ordering::Release);
    }
}

/// A thread's own chunks, and then what others have left.
fn run(job: &Job, thread: usize) {
    // SAFETY: see `parallel`.
    let body = unsafe { &*job.body };
    let count = job.next.len();
    for owner in (thread..count).chain(0..thread) {
        let end = (owner + 1) * job.chunks / count;
        loop {
            let chunk = job.next[owner].0.fetch_add(1, Ordering::Relaxed);
            if chunk >= end {
                break;
            }
            body(chunk);
        }
    }
}

fn start() -> Vec<Worker> {
    let worker = |index| {
        let asleep: &AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let name = format!("vlm-kernels {index}");
        let spawned = thread::Builder::new()
            .name(name)
            .spawn(move || work(index, asleep));
        // Without a thread the others do its share.
        let thread = spawned.ok()?.thread().clone();
        Some(Worker { thread, asleep })
    };
    (1..threads()).filter_map(worker).collect()
}

fn work(thread: usize, asleep: &AtomicBool) {
    let mut seen = 0;
    loop {
        let mut turns = 0;
        while POOL.number.load(Ordering::SeqCst) == seen {
            turns += 1;
            if turns < TURNS {
                spin_loop();
                continue;
            }
            asleep.store(true, Ordering::SeqCst);
            while POOL.number.load(Ordering::SeqCst) == seen {
                thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
        }
        seen = POOL.number.load(Ordering::SeqCst);
        let enter = |state: u32| (state & OPEN != 0).then_some(state + 1);
        let entered = POOL
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
        if entered.is_ok() {
            let _leaving = Leaving;
            // SAFETY: this thread is counted in `state`, so the job stays.
            let job = unsafe { (*POOL.job.get()).as_ref() }.expect("state is open");
            if catch_unwind(AssertUnwindSafe(|| run(job, thread))).is_err() {
                job.panicked.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once_from_any_thread() {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for chunks in 0..200 {
                        let counts: Vec<AtomicUsize> =
                            (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                        parallel(chunks, &|chunk| {
                            counts[chunk].fetch_add(1, Ordering::Relaxed);
                        });
                        let once = |count: &AtomicUsize| count.load(Ordering::Relaxed) == 1;
                        assert!(counts.iter().all(once));
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_leaves_the_pool_usable() {
        let panicked = std::panic::catch_unwind(|| {
            parallel(2, &|_| panic!("in a chunk"));
        });
        assert!(panicked.is_err());
        parallel(2, &|_| {});
    }
}
