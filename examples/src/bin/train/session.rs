use std::{
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};
use vlm::{
    AnyVlm, Error,
    train::{self, MicroBatch, RunState, Saver, StepReport, Trainer, data::Loader},
};

use crate::{
    args::Format,
    data::Evaluation,
    metrics::{Eval, Line, Metrics, Step},
    progress::Progress,
};

/// Where a run takes its data from, and what it tells of its steps.
pub struct Session {
    pub loader: Loader,
    pub evaluation: Option<Evaluation>,
    pub saver: Saver,
    pub output: PathBuf,
    pub metrics: Metrics,
    pub progress: Progress,
    pub format: Format,
    /// Set when the run is to be left.
    pub interrupted: Arc<AtomicBool>,
    /// When the last step was done.
    pub since: Instant,
    /// Steps without anything to learn, in a row.
    pub empty: usize,
}

impl train::Session<AnyVlm> for Session {
    type Error = Error;

    fn batches(&mut self, step: usize) -> Result<Vec<MicroBatch>, Error> {
        let batches = self.loader.step(step)?;
        for error in self.loader.skipped() {
            self.progress.say(&format!("left out: {error}"));
        }
        Ok(batches)
    }

    fn evaluate(&mut self, trainer: &Trainer<AnyVlm>) -> Result<Option<train::Evaluation>, Error> {
        let Some(evaluation) = &mut self.evaluation else {
            return Ok(None);
        };
        let mut all = train::Evaluation::NOTHING;
        for batches in evaluation.batches() {
            all = all.and(trainer.evaluate(&batches?));
        }
        Ok(Some(all))
    }

    fn stepped(&mut self, report: &StepReport) -> Result<(), Error> {
        self.empty = if report.tokens == 0 {
            self.empty + 1
        } else {
            0
        };
        if self.empty >= self.loader.steps_per_epoch() {
            let message = "--data: all samples of a pass were left out, expected one to learn from";
            return Err(vlm::core::Error::Request(message.to_owned()).into());
        }
        let seconds = self.since.elapsed().as_secs_f64().max(1e-9);
        self.since = Instant::now();
        let line = Step {
            step: report.step,
            loss: report.loss,
            learning_rate: report.learning_rate,
            grad_norm: report.grad_norm,
            tokens: report.tokens,
            token_accuracy: report.token_accuracy,
            entropy: report.entropy,
            tokens_per_s: report.tokens as f64 / seconds,
            epoch: report.step as f64 / self.loader.steps_per_epoch() as f64,
        };
        match self.format {
            Format::Text => self.progress.step(&line),
            Format::Json => print(&json!({
                "step": line.step,
                "loss": line.loss,
                "learning_rate": line.learning_rate,
                "grad_norm": line.grad_norm,
                "tokens": line.tokens,
            })),
        }
        self.metrics.add(Line::Step(line))
    }

    fn evaluated(
        &mut self,
        step: usize,
        evaluation: &train::Evaluation,
        best: bool,
    ) -> Result<(), Error> {
        let line = Eval {
            step,
            eval_loss: evaluation.loss,
            eval_tokens: evaluation.tokens,
            eval_token_accuracy: evaluation.token_accuracy,
        };
        match self.format {
            Format::Text => self.progress.eval(&line, best),
            Format::Json => print(&json!(line)),
        }
        self.metrics.add(Line::Eval(line))?;
        self.since = Instant::now();
        Ok(())
    }

    fn save(&mut self, trainer: &Trainer<AnyVlm>, state: &RunState) -> Result<(), Error> {
        self.saver.checkpoint(trainer, &self.output, state)?;
        self.since = Instant::now();
        Ok(())
    }

    fn interrupted(&mut self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// A line on stdout; a run goes on when nobody reads any more.
fn print(line: &Value) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
