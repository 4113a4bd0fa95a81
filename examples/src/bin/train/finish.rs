use std::path::Path;

use serde_json::Value;
use vlm::{
    Error,
    train::{
        ModelCard, RunState,
        folder::{checkpoint, release},
    },
};

use crate::{
    args::{Args, Format},
    curve,
    metrics::Metrics,
};

/// Puts what was trained into the output folder, with a model card and the curve of losses, and pushes it.
pub fn finish(args: &Args, state: &RunState, metrics: &Metrics) -> Result<(), Error> {
    let output = &args.output;
    // As transformers' early stopping wants it: without patience the last weights are the result.
    let best = state.best.filter(|_| args.patience.is_some());
    let step = best.map_or(state.step, |best| best.step);
    release(&checkpoint(output, step), output)?;
    card(args, state, metrics, step).save(output)?;
    curve::draw(metrics, &output.join("loss.png"))?;
    if args.format == Format::Text {
        let flag = if args.train.is_lora() {
            "adapter"
        } else {
            "model"
        };
        eprintln!("step {step} is in {}: generate --{flag}", output.display());
    }
    match &args.push_to_hub {
        Some(id) => push(id, output),
        None => Ok(()),
    }
}

fn card(args: &Args, state: &RunState, metrics: &Metrics, step: usize) -> ModelCard {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let settings = state.settings.iter().filter(|(_, value)| !value.is_null());
    let settings = settings.map(|(name, value)| (name.clone(), shown(value)));
    let mut results = vec![("steps".to_owned(), step.to_string())];
    if let Some(line) = metrics.steps().find(|line| line.step == step) {
        results.push((
            "loss of the last step".to_owned(),
            format!("{:.4}", line.loss),
        ));
    }
    if let Some(line) = metrics.evals().filter(|line| line.step == step).last() {
        results.push((
            "evaluation loss".to_owned(),
            format!("{:.4}", line.eval_loss),
        ));
        let accuracy = format!("{:.4}", line.eval_token_accuracy);
        results.push(("evaluation token accuracy".to_owned(), accuracy));
    }
    ModelCard {
        base: args.model.clone(),
        adapter: args.train.is_lora(),
        settings: settings.collect(),
        results,
    }
}

#[cfg(feature = "hub")]
fn push(id: &str, output: &Path) -> Result<(), Error> {
    let url = vlm::upload(id, output, "Train")?;
    eprintln!("pushed: {url}");
    Ok(())
}

#[cfg(not(feature = "hub"))]
fn push(id: &str, _output: &Path) -> Result<(), Error> {
    Err(Error::Usage(format!(
        "--push-to-hub {id}: this program was built without `--features hub`"
    )))
}
