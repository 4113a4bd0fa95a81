use vlm_core::{Error, VisionLanguageModel};

use crate::{Evaluation, MicroBatch, RunState, StepReport, Trainer};

/// When a run evaluates, saves and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunConfig {
    /// Steps in all.
    pub steps: usize,
    /// Steps between evaluations; the last step has one, too.
    pub eval_every: usize,
    /// Steps between saves; the last step has one, too.
    pub save_every: usize,
    /// Evaluations without a better one after which the run ends; never, when absent.
    pub patience: Option<usize>,
}

/// Where a run takes its data from and leaves what it has.
pub trait Session<M> {
    /// What can go wrong outside of the model.
    type Error: From<Error>;

    /// The micro-batches of a step, counted from 0: the same at every call.
    ///
    /// # Errors
    ///
    /// When there is no such data.
    fn batches(&mut self, step: usize) -> Result<Vec<MicroBatch>, Self::Error>;

    /// Evaluates the model, where there is something to evaluate it on.
    ///
    /// # Errors
    ///
    /// When the data cannot be read.
    fn evaluate(&mut self, trainer: &Trainer<M>) -> Result<Option<Evaluation>, Self::Error> {
        let _ = trainer;
        Ok(None)
    }

    /// Told of every step.
    ///
    /// # Errors
    ///
    /// When it cannot be noted.
    fn stepped(&mut self, report: &StepReport) -> Result<(), Self::Error>;

    /// Told of every evaluation, and whether it is the best so far.
    ///
    /// # Errors
    ///
    /// When it cannot be noted.
    fn evaluated(
        &mut self,
        step: usize,
        evaluation: &Evaluation,
        best: bool,
    ) -> Result<(), Self::Error> {
        let _ = (step, evaluation, best);
        Ok(())
    }

    /// Keeps the model, the optimizer and the state.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    fn save(&mut self, trainer: &Trainer<M>, state: &RunState) -> Result<(), Self::Error>;

    /// Whether the run is to be saved and left after this step.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Done,
    /// Evaluations got no better.
    Patience,
    /// The session asked for it.
    Interrupted,
}

/// Steps, evaluates and saves until the run is over, from where `state` stands.
///
/// A best evaluation is saved at once, whatever the interval of saves.
///
/// # Errors
///
/// When the session fails, or a loss or a norm of gradients is not finite: what was saved before is sound.
pub fn run<M: VisionLanguageModel, S: Session<M>>(
    trainer: &mut Trainer<M>,
    config: &RunConfig,
    state: &mut RunState,
    session: &mut S,
) -> Result<Ended, S::Error> {
    let patient = |state: &RunState| {
        config
            .patience
            .is_none_or(|patience| state.stale < patience)
    };
    let mut saved = trainer.step;
    while trainer.step < config.steps && patient(state) {
        let batches = session.batches(trainer.step)?;
        let report = trainer.step(&batches);
        if !report.loss.is_finite() || !report.grad_norm.is_finite() {
            return Err(Error::Request(format!(
                "step {}: the loss is {} and the norm of the gradients {}, expected finite numbers; \
                 a lower learning rate may help",
                report.step, report.loss, report.grad_norm
            ))
            .into());
        }
        state.step = trainer.step;
        session.stepped(&report)?;
        let last = trainer.step == config.steps;
        let due = |every: usize| last || trainer.step.is_multiple_of(every.max(1));
        let mut save = due(config.save_every);
        if due(config.eval_every)
            && let Some(evaluation) = session.evaluate(trainer)?
        {
            let best = state.evaluated(evaluation.loss);
            session.evaluated(trainer.step, &evaluation, best)?;
            save |= best || !patient(state);
        }
        let interrupted = session.interrupted();
        if save || interrupted {
            session.save(trainer, state)?;
            saved = trainer.step;
        }
        if interrupted && !last {
            return Ok(Ended::Interrupted);
        }
    }
    if saved != trainer.step {
        session.save(trainer, state)?;
    }
    Ok(match trainer.step < config.steps {
        true => Ended::Patience,
        false => Ended::Done,
    })
}
