use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::metrics::{Eval, Step};

/// A bar of steps on stderr with the mean loss of the last ones.
pub struct Progress {
    bar: ProgressBar,
    mean: Option<f64>,
}

impl Progress {
    pub fn new(done: usize, steps: usize, shown: bool) -> Self {
        let style = "{pos}/{len} {wide_bar} {msg}  {eta} left";
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(steps as u64)
            .with_style(style)
            .with_position(done as u64);
        bar.reset_eta();
        if !shown {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, mean: None }
    }

    pub fn step(&mut self, step: &Step) {
        let mean = match self.mean {
            Some(mean) => 0.9 * mean + 0.1 * step.loss,
            None => step.loss,
        };
        self.mean = Some(mean);
        let (rate, speed) = (step.learning_rate, step.tokens_per_s);
        self.bar.set_position(step.step as u64);
        self.bar.set_message(format!(
            "loss {mean:.4}  rate {rate:.2e}  {speed:.0} tokens/s"
        ));
    }

    pub fn eval(&self, eval: &Eval, best: bool) {
        let mark = if best { ", the best so far" } else { "" };
        self.say(&format!(
            "step {}: evaluation loss {:.4}, token accuracy {:.3}{mark}",
            eval.step, eval.eval_loss, eval.eval_token_accuracy
        ));
    }

    /// A line above the bar; without a terminal, where bars are hidden, on stderr all the same.
    pub fn say(&self, line: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{line}"),
            false => self.bar.println(line),
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
