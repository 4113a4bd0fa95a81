use std::{path::Path, sync::Arc, time::Duration};

use vlm::{
    Error,
    text::{CheckpointDefaults, Choices, GenerationConfig, Tokenizer},
};

use crate::{
    args::{Args, Format},
    draw, output,
};

/// Refuses values that no flag can have, before anything is loaded.
pub fn check(args: &Args) -> Result<(), Error> {
    let check =
        |flag: &str, found: Option<f64>, good: &dyn Fn(f64) -> bool, expected: &str| match found
            .filter(|found| !found.is_finite() || !good(*found))
        {
            None => Ok(()),
            Some(found) => Err(Error::Usage(format!(
                "--{flag}: expected {expected}, found {found}"
            ))),
        };
    let wide = |value: Option<f32>| value.map(f64::from);
    let share = |found: f64| (0.0..=1.0).contains(&found);
    check(
        "temperature",
        wide(args.temperature),
        &|t| t >= 0.0,
        "0 or more",
    )?;
    let above = |p: f64| p > 0.0 && p <= 1.0;
    check("top-p", wide(args.top_p), &above, "above 0 and at most 1")?;
    check("min-p", wide(args.min_p), &share, "from 0 to 1")?;
    let positive = |found: f64| found > 0.0;
    let repetition = wide(args.repetition_penalty);
    check("repetition-penalty", repetition, &positive, "above 0")?;
    let any = |_: f64| true;
    check(
        "presence-penalty",
        wide(args.presence_penalty),
        &any,
        "a number",
    )?;
    check(
        "frequency-penalty",
        wide(args.frequency_penalty),
        &any,
        "a number",
    )?;
    check("length-penalty", args.length_penalty, &any, "a number")?;
    check(
        "max-time",
        args.max_time,
        &|t| (0.0..1e9).contains(&t),
        "seconds",
    )?;
    if args.beams == Some(0) {
        return Err(Error::Usage(
            "--beams: expected 1 or more, found 0".to_owned(),
        ));
    }
    let sampled = args
        .temperature
        .is_some_and(|temperature| temperature > 0.0);
    if sampled && args.beams.is_some_and(|beams| beams > 1) {
        let message = "--beams and --temperature: a search does not sample, expected one of them";
        return Err(Error::Usage(message.to_owned()));
    }
    if args.stop.iter().any(String::is_empty) {
        return Err(Error::Usage(
            "--stop: expected a text, found none".to_owned(),
        ));
    }
    check_question(args)?;
    check_files(args)
}

fn check_question(args: &Args) -> Result<(), Error> {
    let empty = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    if empty(&args.question) {
        let message = "QUESTION: expected a text, found an empty one";
        return Err(Error::Usage(message.to_owned()));
    }
    let asked = args.question.is_some() || args.prompt.is_some() || args.messages.is_some();
    let needs_one = [
        ("--draw", args.draw.is_some() && args.post_process.is_none()),
        ("--plan", args.plan),
        ("--logits", args.logits.is_some()),
        ("--stats", args.stats),
        ("--format json", args.format == Format::Json),
    ];
    let other = args.requests.is_some() || args.post_process.is_some();
    match needs_one.iter().find(|(_, given)| *given) {
        Some((flag, _)) if !asked && !other => {
            let message = format!("{flag}: expected a question, which a conversation has not");
            Err(Error::Usage(message))
        }
        _ => Ok(()),
    }
}

/// Files that are written at the end are checked at the beginning.
fn check_files(args: &Args) -> Result<(), Error> {
    if let Some(path) = &args.logits {
        output::check_file(path)?;
    }
    let Some(path) = &args.draw else {
        return Ok(());
    };
    if args.image.len() != 1 {
        let found = args.image.len();
        let message = format!("--draw: expected one --image to draw on, found {found}");
        return Err(Error::Usage(message));
    }
    draw::check("--draw", path)
}

/// Greedy, or what `generation_config.json` says when it is asked for, and what the flags say.
pub fn config(
    args: &Args,
    folder: &Path,
    tokenizer: &Tokenizer,
) -> Result<GenerationConfig, Error> {
    let mut config = GenerationConfig::new(args.max_new_tokens as usize).with_ids_from(folder)?;
    let defaults = CheckpointDefaults::from_folder(folder)?;
    match args.checkpoint_defaults {
        true => config = defaults.apply(config)?,
        false if defaults.acting().is_empty() => {}
        false => eprintln!(
            "generation_config.json: {} not used (--checkpoint-defaults takes them)",
            defaults.acting().join(", ")
        ),
    }
    let sampling = &mut config.sampling;
    set(&mut sampling.temperature, args.temperature);
    set(&mut sampling.top_k, args.top_k.map(Some));
    set(&mut sampling.top_p, args.top_p);
    set(&mut sampling.min_p, args.min_p);
    set(&mut sampling.repetition_penalty, args.repetition_penalty);
    set(&mut sampling.presence_penalty, args.presence_penalty);
    set(&mut sampling.frequency_penalty, args.frequency_penalty);
    let size = args
        .no_repeat_ngram_size
        .map(|size| (size > 0).then_some(size));
    set(&mut sampling.no_repeat_ngram_size, size);
    sampling.seed = args.seed;
    set(&mut config.beams.num_beams, args.beams);
    set(&mut config.beams.length_penalty, args.length_penalty);
    set(
        &mut config.max_time,
        args.max_time
            .map(|time| Some(Duration::from_secs_f64(time))),
    );
    config.stop_strings.extend(args.stop.iter().cloned());
    config.log_probs = args.log_probs;
    // One answer is printed.
    config.num_return_sequences = 1;
    if !args.choice.is_empty() {
        // An answer may begin with a space or without.
        let texts = args
            .choice
            .iter()
            .flat_map(|text| [text.clone(), format!(" {text}")]);
        let choices = texts.map(|text| tokenizer.encode_continued(&text, true));
        let choices: Vec<Vec<u32>> = choices.collect::<Result<_, _>>()?;
        let limit = Choices::new(&choices, &config.eos_token_ids)?;
        config.sampling.further.push(Arc::new(limit));
    }
    Ok(config)
}

fn set<T>(value: &mut T, flag: Option<T>) {
    if let Some(flag) = flag {
        *value = flag;
    }
}
