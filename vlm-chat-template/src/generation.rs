//! `{% generation %}`: where the prompt holds what the assistant said.

use std::{
    fmt, io,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use minijinja::{
    Error, State, Value,
    value::{Kwargs, Object, ObjectRepr, from_args},
};

/// The variable that a generation block calls.
pub(crate) const CALLEE: &str = "__generation__";
/// What stands for `generation` in a tag.
pub(crate) const OPEN: &str = "call __generation__()";
/// What stands for `endgeneration` in a tag.
pub(crate) const CLOSE: &str = "endcall";

/// Notes what each generation block rendered, and where.
///
/// The engine writes each piece of output at once, so when a block has been rendered and is about
/// to be written, the length of the output so far is where it begins. A block inside of a macro
/// is written later and elsewhere; [`spans`](Self::spans) finds out by comparing.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    written: AtomicUsize,
    blocks: Mutex<Vec<(usize, String)>>,
}

impl Tracker {
    /// Byte ranges of the blocks in the output; `Err` has the number of a block that is not
    /// where it seemed to be.
    pub(crate) fn spans(&self, output: &str) -> Result<Vec<Range<usize>>, usize> {
        let blocks = self
            .blocks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let span = |(number, (start, text)): (usize, &(usize, String))| {
            let range = *start..start + text.len();
            match output.get(range.clone()) {
                Some(found) if found == text => Ok(range),
                _ => Err(number + 1),
            }
        };
        blocks.iter().enumerate().map(span).collect()
    }
}

impl Object for Tracker {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (kwargs,): (Kwargs,) = from_args(args)?;
        let caller: Value = kwargs.get("caller")?;
        let text = caller.call(state, &[])?;
        let start = self.written.load(Ordering::Relaxed);
        let mut blocks = self
            .blocks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        blocks.push((start, text.to_string()));
        Ok(text)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<generation>")
    }
}

/// Output that tells a [`Tracker`] its length.
pub(crate) struct Writer {
    output: Vec<u8>,
    tracker: Arc<Tracker>,
}

impl Writer {
    pub(crate) fn new(tracker: Arc<Tracker>) -> Self {
        Writer {
            output: Vec::new(),
            tracker,
        }
    }

    pub(crate) fn into_string(self) -> String {
        String::from_utf8(self.output).expect("the engine writes text")
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        self.tracker
            .written
            .store(self.output.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
