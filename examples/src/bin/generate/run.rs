use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use burn::tensor::FloatDType;
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};
use vlm::{
    AnyConfig, Error, Plan, Pretrained, Processor, Prompt, Request,
    core::{Images, Size, VisionLanguageModel},
    text::{SamplingConfig, generate_with, prefill},
    vision::processor::size_of,
};

use crate::{
    args::{Args, Dtype, Format},
    logits,
    output::{self, Output},
    stats::Stats,
};

pub fn run(args: &Args) -> Result<(), Error> {
    let sampling = sampling(args)?;
    let device = vlm::parse_device(&args.device)?;
    let dtype = dtype(args.dtype);
    if !device.supports_dtype(dtype) {
        let message = format!(
            "device `{}` does not compute in {:?}",
            args.device, args.dtype
        );
        return Err(Error::Usage(message));
    }
    let prompt = prompt(args)?;
    // Weights last: a wrong picture or prompt should not wait for gigabytes.
    let images = args.image.iter().map(vlm::open_image);
    let images: Vec<RgbImage> = images.collect::<Result<_, _>>()?;
    let folder = folder(args.model.as_deref())?;
    let config = AnyConfig::from_folder(&folder)?;
    let processor = Processor::from_folder(&folder, &config)?;
    if args.plan {
        let sizes: Vec<Size> = images.iter().map(size_of).collect();
        let plan = Plan::new(
            &config,
            &processor,
            &prompt,
            &sizes,
            args.max_new_tokens as usize,
            dtype,
        )?;
        match args.format {
            Format::Text => output::write(&format!("{plan}\n")),
            Format::Json => output::write(&format!("{}\n", plan.to_json())),
        }
        return Ok(());
    }

    let mut stats = Stats::default();
    let start = Instant::now();
    let request = processor.process(&prompt, &images)?;
    stats.preprocess = start.elapsed();

    let start = Instant::now();
    let pretrained = load(&folder, dtype, &device)?;
    stats.load = start.elapsed();

    let first = Instant::now();
    let requests = [request];
    let visual = Request::images(&requests, &device, dtype.into());
    let [request] = requests;
    let visual = match visual {
        Some(Images::Pixels(pixels)) => {
            let tokens = pretrained.model.encode_images(&pixels);
            sync(&device);
            stats.encode = first.elapsed();
            Some(Images::Tokens(tokens))
        }
        other => other,
    };
    let mut config = pretrained.generation_config(args.max_new_tokens as usize)?;
    config = config.with_sampling(sampling);
    let prompts = [request.sequence];
    let start = Instant::now();
    let prefilled = prefill(&pretrained.model, &prompts, visual, &config, &device)?;
    sync(&device);
    stats.prefill = start.elapsed();
    if let Some(path) = &args.logits {
        let scores = pretrained.model.logits(prefilled.hidden.clone());
        logits::write(path, scores, &request.images)?;
    }

    let mut output = Output::new(args.format, pretrained.processor.tokenizer());
    let mut decoding = None;
    let mut count = 0_usize;
    let answers = generate_with(&pretrained.model, prefilled, &config, |_, token| {
        if decoding.is_none() {
            stats.first_token = stats.preprocess + first.elapsed();
            decoding = Some(Instant::now());
        } else {
            count += 1;
        }
        output.token(token);
        ControlFlow::Continue(())
    })?;
    let elapsed = decoding.map_or(Duration::ZERO, |start| start.elapsed());
    stats.tokens_per_second = count as f64 / elapsed.as_secs_f64().max(1e-9);
    output.finish(&prompts[0].ids(), &answers[0], args.stats.then_some(&stats));
    Ok(())
}

fn prompt(args: &Args) -> Result<Prompt, Error> {
    if let Some(question) = &args.question {
        return Ok(Prompt::Question(question.clone()));
    }
    if let Some(text) = &args.prompt {
        return Ok(Prompt::Text(text.clone()));
    }
    let Some(path) = &args.messages else {
        return Err(Error::Usage("expected a question".to_owned()));
    };
    let text = std::fs::read_to_string(path).map_err(vlm::core::Error::io(path))?;
    let messages = serde_json::from_str(&text).map_err(vlm::core::Error::json(path))?;
    Ok(Prompt::Messages(messages))
}

fn sampling(args: &Args) -> Result<SamplingConfig, Error> {
    let check = |flag: &str, good: bool, expected: &str, found: f32| match good {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "--{flag}: expected {expected}, found {found}"
        ))),
    };
    let (t, p, m) = (args.temperature, args.top_p, args.min_p);
    check("temperature", t >= 0.0 && t.is_finite(), "0 or more", t)?;
    check("top-p", p > 0.0 && p <= 1.0, "above 0 and at most 1", p)?;
    check("min-p", (0.0..=1.0).contains(&m), "from 0 to 1", m)?;
    let r = args.repetition_penalty;
    check("repetition-penalty", r > 0.0 && r.is_finite(), "above 0", r)?;
    Ok(SamplingConfig {
        repetition_penalty: r,
        temperature: t,
        top_k: args.top_k,
        top_p: p,
        min_p: m,
        seed: args.seed,
        ..SamplingConfig::greedy()
    })
}

fn dtype(dtype: Dtype) -> FloatDType {
    match dtype {
        Dtype::F32 => FloatDType::F32,
        Dtype::F16 => FloatDType::F16,
        Dtype::Bf16 => FloatDType::BF16,
    }
}

/// The folder of a model: itself, or what the hub has under its id.
fn folder(model: Option<&str>) -> Result<PathBuf, Error> {
    let Some(model) = model else {
        eprintln!(
            "no --model: the tiny untrained checkpoint of the tests answers, and its answer is noise"
        );
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vlm/tests/fixtures");
        return Ok(tests.join("llava/clip-llama"));
    };
    let folder = PathBuf::from(model);
    if folder.is_dir() {
        return Ok(folder);
    }
    let parts: Vec<&str> = model.split('/').collect();
    let looks_like_id = matches!(parts[..], [owner, name] if !owner.is_empty() && !name.is_empty())
        && !model.starts_with(['.', '~']);
    if !looks_like_id {
        let message = format!("--model {model}: neither a folder nor a hub id (owner/name)");
        return Err(Error::Usage(message));
    }
    download(model)
}

#[cfg(feature = "hub")]
fn download(id: &str) -> Result<PathBuf, Error> {
    let bar = bytes_bar(&format!("downloading {id}"));
    let shown = bar.clone();
    let tell = std::sync::Arc::new(move |done, total| {
        shown.set_length(total);
        shown.set_position(done);
    });
    let folder = vlm::download(id, Some(tell));
    bar.finish_and_clear();
    folder
}

#[cfg(not(feature = "hub"))]
fn download(id: &str) -> Result<PathBuf, Error> {
    Err(Error::Usage(format!(
        "--model {id}: no such folder, and this program was built without `--features hub`"
    )))
}

fn load(
    folder: &Path,
    dtype: FloatDType,
    device: &burn::tensor::Device,
) -> Result<Pretrained, Error> {
    let bar = bytes_bar("loading");
    let loaded = Pretrained::load_with(folder, dtype, device, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    loaded
}

fn bytes_bar(what: &str) -> ProgressBar {
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0)
        .with_style(style)
        .with_message(what.to_owned())
}

fn sync(device: &burn::tensor::Device) {
    // A device that cannot wait computes at once.
    let _ = device.sync();
}
