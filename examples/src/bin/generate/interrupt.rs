use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// What is going on when Ctrl-C is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A line is waited for.
    Waiting,
    /// As well, and Ctrl-C was pressed once.
    Asked,
    /// A line is being served.
    Working,
}

/// What a press of Ctrl-C means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Press {
    Stop,
    Ask,
    Leave,
}

/// Ctrl-C in a conversation ends the answer that is being written; at the prompt, a second one leaves.
#[derive(Debug)]
pub struct Interrupt {
    state: Mutex<State>,
    cancel: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes Ctrl-C over, for the rest of the program.
    pub fn install() -> Result<Arc<Self>, ctrlc::Error> {
        let interrupt = Arc::new(Self::new());
        let pressed = interrupt.clone();
        ctrlc::set_handler(move || match pressed.press() {
            Press::Stop => {}
            Press::Ask => eprint!("\nCtrl-C again, or Ctrl-D, leaves.\n> "),
            Press::Leave => {
                eprintln!();
                std::process::exit(0);
            }
        })?;
        Ok(interrupt)
    }

    fn new() -> Self {
        Self {
            state: Mutex::new(State::Waiting),
            cancel: Arc::default(),
        }
    }

    /// Becomes true where the answer is to end.
    pub fn cancel(&self) -> Arc<AtomicBool> {
        self.cancel.clone()
    }

    /// Serves a line.
    pub fn while_working<T>(&self, work: impl FnOnce() -> T) -> T {
        self.cancel.store(false, Ordering::Relaxed);
        *self.state() = State::Working;
        let result = work();
        *self.state() = State::Waiting;
        result
    }

    fn press(&self) -> Press {
        let mut state = self.state();
        match *state {
            State::Working => {
                self.cancel.store(true, Ordering::Relaxed);
                Press::Stop
            }
            State::Waiting => {
                *state = State::Asked;
                Press::Ask
            }
            State::Asked => Press::Leave,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stops_and_two_presses_leave() {
        let interrupt = Interrupt::new();
        assert_eq!(interrupt.press(), Press::Ask);
        let cancel = interrupt.cancel();
        interrupt.while_working(|| {
            assert!(!cancel.load(Ordering::Relaxed));
            // However often it is pressed.
            assert_eq!(interrupt.press(), Press::Stop);
            assert_eq!(interrupt.press(), Press::Stop);
            assert!(cancel.load(Ordering::Relaxed));
        });
        assert_eq!(interrupt.press(), Press::Ask);
        interrupt.while_working(|| assert!(!cancel.load(Ordering::Relaxed)));
        // What came between begins the count anew.
        assert_eq!(interrupt.press(), Press::Ask);
        assert_eq!(interrupt.press(), Press::Leave);
    }
}
