use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use vlm::{
    Error,
    train::{LoraConfig, Schedule, ScheduleKind, Selection, TrainerConfig},
};

use crate::args::{Args, Choice, LabelsFlag, Quantize, ScheduleFlag, Train};

/// Refuses values that no flag can have, and flags that do not go together, before anything is loaded.
pub fn check(args: &Args) -> Result<(), Error> {
    let usage = |message: String| Err(Error::Usage(message));
    let number = |flag: &str, found: f64, good: &dyn Fn(f64) -> bool, expected: &str| match found
        .is_finite()
        && good(found)
    {
        true => Ok(()),
        false => usage(format!("--{flag}: expected {expected}, found {found}")),
    };
    let positive = |found: f64| found > 0.0;
    let not_negative = |found: f64| found >= 0.0;
    let share = |found: f64| (0.0..=1.0).contains(&found);
    number("epochs", args.epochs, &positive, "above 0")?;
    number("learning-rate", args.learning_rate, &positive, "above 0")?;
    if let Some(rate) = args.projector_learning_rate {
        number("projector-learning-rate", rate, &positive, "above 0")?;
    }
    number("warmup-ratio", args.warmup_ratio, &share, "from 0 to 1")?;
    number(
        "weight-decay",
        args.weight_decay,
        &not_negative,
        "0 or more",
    )?;
    number(
        "max-grad-norm",
        args.max_grad_norm,
        &not_negative,
        "0 or more",
    )?;
    number("lora-alpha", args.lora_alpha, &positive, "above 0")?;
    let below = |found: f64| (0.0..1.0).contains(&found);
    number("adam-beta2", args.adam_beta2, &below, "from 0 to below 1")?;
    number(
        "lora-dropout",
        args.lora_dropout,
        &below,
        "from 0 to below 1",
    )?;
    for (flag, found) in [
        ("steps", args.steps),
        ("max-length", args.max_length),
        ("workers", args.workers),
    ] {
        if found == Some(0) {
            return usage(format!("--{flag}: expected 1 or more, found 0"));
        }
    }
    if args.cache_features.is_some() && args.train == Train::All {
        return usage(
            "--cache-features: --train all trains the image encoder, expected a frozen one"
                .to_owned(),
        );
    }
    if args.lora_targets.iter().any(String::is_empty) {
        return usage("--lora-targets: expected names with commas between them".to_owned());
    }
    if !args.train.is_lora() {
        for (flag, given) in [
            ("adapter", args.adapter.is_some()),
            ("quantize", args.quantize.is_some()),
        ] {
            if given {
                return usage(format!("--{flag} is for --train lora and lora+projector"));
            }
        }
    }
    if let Some(id) = &args.push_to_hub
        && id.split('/').filter(|part| !part.is_empty()).count() != 2
    {
        return usage(format!("--push-to-hub: expected owner/name, found {id}"));
    }
    Ok(())
}

/// What learns, as the flags say it.
pub fn selection(args: &Args) -> Selection {
    let lora = |whole: &[&str]| {
        Selection::Lora(LoraConfig {
            rank: args.lora_rank as usize,
            alpha: args.lora_alpha,
            dropout: args.lora_dropout,
            targets: args.lora_targets.clone(),
            whole: whole.iter().map(|&path| path.to_owned()).collect(),
        })
    };
    match args.train {
        Train::Projector => Selection::Projector,
        Train::ProjectorAndDecoder => Selection::ProjectorAndDecoder,
        Train::All => Selection::All,
        Train::Lora => lora(&[]),
        Train::LoraAndProjector => lora(&["projector"]),
    }
}

/// How it learns over so many steps.
pub fn trainer(args: &Args, steps: usize) -> TrainerConfig {
    let kind = match args.schedule {
        ScheduleFlag::Constant => ScheduleKind::Constant,
        ScheduleFlag::Linear => ScheduleKind::Linear,
        ScheduleFlag::Cosine => ScheduleKind::Cosine,
    };
    TrainerConfig {
        learning_rate: args.learning_rate,
        projector_learning_rate: args.projector_learning_rate,
        schedule: Schedule::new(kind, args.warmup_ratio, steps),
        weight_decay: args.weight_decay,
        adam_beta2: args.adam_beta2,
        max_grad_norm: args.max_grad_norm,
        seed: args.seed,
    }
}

/// Every flag that decides how a run goes, with its value: a run that goes on has to have the same.
pub fn deciding(args: &Args, steps: usize) -> Result<BTreeMap<String, Value>, Error> {
    let mut settings = json!({
        "model": args.model,
        "data": file(&args.data)?,
        "train": name(&args.train),
        "dtype": name(&args.dtype),
        "labels": name(&args.labels),
        "max-length": args.max_length,
        "too-long": name(&args.too_long),
        "bad-samples": name(&args.bad_samples),
        "packing": args.packing,
        "group-by-length": args.group_by_length,
        "no-shuffle": args.no_shuffle,
        "batch-size": args.batch_size,
        "gradient-accumulation": args.gradient_accumulation,
        "learning-rate": args.learning_rate,
        "projector-learning-rate": args.projector_learning_rate,
        "schedule": name(&args.schedule),
        "warmup-ratio": args.warmup_ratio,
        "weight-decay": args.weight_decay,
        "adam-beta2": args.adam_beta2,
        "max-grad-norm": args.max_grad_norm,
        "seed": args.seed,
        "device": args.device.join(","),
        "cache-features": args.cache_features.is_some(),
    });
    // A constant rate without a warmup is the same however long the run is.
    if args.schedule != ScheduleFlag::Constant || args.warmup_ratio > 0.0 {
        settings["steps"] = json!(steps);
    }
    if args.train.is_lora() {
        settings["quantize"] = json!(args.quantize.as_ref().map(name));
        match &args.adapter {
            Some(adapter) => settings["adapter"] = json!(adapter),
            None => {
                settings["lora-rank"] = json!(args.lora_rank);
                settings["lora-alpha"] = json!(args.lora_alpha);
                settings["lora-targets"] = json!(args.lora_targets.join(","));
                settings["lora-dropout"] = json!(args.lora_dropout);
            }
        }
    }
    match settings {
        Value::Object(settings) => Ok(settings.into_iter().collect()),
        _ => unreachable!("it was made as an object"),
    }
}

/// A file by its name and size: the same flag with other data is another run.
fn file(path: &Path) -> Result<String, Error> {
    let size = std::fs::metadata(path)
        .map_err(vlm::core::Error::io(path))?
        .len();
    Ok(format!("{} of {size} bytes", path.display()))
}

fn name(value: &impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

impl From<Quantize> for vlm::train::Quantization {
    fn from(flag: Quantize) -> Self {
        match flag {
            Quantize::Int8 => Self::Int8,
            Quantize::Int4 => Self::Int4,
        }
    }
}

impl From<LabelsFlag> for vlm::train::data::Labels {
    fn from(flag: LabelsFlag) -> Self {
        match flag {
            LabelsFlag::All => Self::All,
            LabelsFlag::Assistant => Self::Assistant,
        }
    }
}

impl From<Choice> for vlm::train::data::TooLong {
    fn from(flag: Choice) -> Self {
        match flag {
            Choice::Fail => Self::Fail,
            Choice::Skip => Self::Drop,
        }
    }
}

impl From<Choice> for vlm::train::data::BadSamples {
    fn from(flag: Choice) -> Self {
        match flag {
            Choice::Fail => Self::Fatal,
            Choice::Skip => Self::Skip,
        }
    }
}
