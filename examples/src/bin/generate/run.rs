use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use image::RgbImage;
use vlm::{
    AnyConfig, Error, Plan, Pretrained, Processor, Prompt, Request,
    core::{Images, Size, VisionLanguageModel},
    text::{GenerationConfig, generate_text, prefill},
    vision::processor::size_of,
};

use crate::{
    args::{Args, Format},
    chat, logits, model, output, requests, settings,
    stats::Stats,
};

pub fn run(args: &Args) -> Result<(), Error> {
    settings::check(args)?;
    vlm::kernels::Path::from_variable().map_err(Error::Usage)?;
    vlm::kernels::keep_memory();
    let device = vlm::parse_device(&args.device)?;
    let dtype = model::dtype(args.dtype);
    if !device.supports_dtype(dtype) {
        let message = format!(
            "device `{}` does not compute in {:?}",
            args.device, args.dtype
        );
        return Err(Error::Usage(message));
    }
    // Weights last: a wrong picture or prompt should not wait for gigabytes.
    let images = args.image.iter().map(vlm::open_image);
    let images: Vec<RgbImage> = images.collect::<Result<_, _>>()?;
    let sizes: Vec<Size> = images.iter().map(size_of).collect();
    let folder = model::folder(args.model.as_deref())?;
    let config = AnyConfig::from_folder(&folder)?;
    if let Some(answer) = &args.post_process {
        return post_process(&config, answer, &sizes);
    }
    let prompt = prompt(args)?;
    let processor = Processor::from_folder(&folder, &config)?;
    let generation = settings::config(args, &folder, processor.tokenizer())?;
    if let Some(path) = &args.requests {
        let requests = requests::read(path, &processor)?;
        let pretrained = model::load(&folder, args, dtype, &device)?;
        return requests::run(&pretrained, &requests, &generation, args.format);
    }
    let Some(prompt) = prompt else {
        if args.plan || args.logits.is_some() || args.format == Format::Json {
            let message = "--plan, --logits and --format json: expected a question";
            return Err(Error::Usage(message.to_owned()));
        }
        let pretrained = model::load(&folder, args, dtype, &device)?;
        return chat::run(&pretrained, images, &generation);
    };
    if args.plan {
        let longest = args.max_new_tokens as usize;
        let plan = Plan::new(&config, &processor, &prompt, &sizes, longest, dtype)?;
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
    let pretrained = model::load(&folder, args, dtype, &device)?;
    stats.load = start.elapsed();
    answer(args, &pretrained, request, &sizes, &generation, stats)
}

fn answer(
    args: &Args,
    pretrained: &Pretrained,
    request: Request,
    sizes: &[Size],
    config: &GenerationConfig,
    mut stats: Stats,
) -> Result<(), Error> {
    let device = pretrained.device();
    let first = Instant::now();
    let requests = [request];
    let visual = Request::images(&requests, device, pretrained.dtype().into());
    let [request] = requests;
    let visual = match visual {
        Some(Images::Pixels(pixels)) => {
            let tokens = pretrained.model.encode_images(&pixels);
            model::sync(device);
            stats.encode = first.elapsed();
            Some(Images::Tokens(tokens))
        }
        other => other,
    };
    let prompts = [request.sequence];
    let start = Instant::now();
    let prefilled = prefill(&pretrained.model, &prompts, visual, config, device)?;
    model::sync(device);
    stats.prefill = start.elapsed();
    if let Some(path) = &args.logits {
        let scores = pretrained.model.logits(prefilled.hidden.clone());
        logits::write(path, scores, &request.images)?;
    }
    let mut decoding = None;
    let tokenizer = pretrained.processor.tokenizer();
    let answers = generate_text(
        &pretrained.model,
        tokenizer,
        prefilled,
        config,
        |_, text| {
            if decoding.is_none() {
                stats.first_token = stats.preprocess + first.elapsed();
                decoding = Some(Instant::now());
            }
            if args.format == Format::Text {
                output::write(text);
            }
            ControlFlow::Continue(())
        },
    )?;
    let elapsed = decoding.map_or(Duration::ZERO, |start| start.elapsed());
    let count = answers[0].generated.tokens.len().saturating_sub(1);
    stats.tokens_per_second = count as f64 / elapsed.as_secs_f64().max(1e-9);
    let text = tokenizer.decode(&answers[0].generated.tokens);
    let grounding = pretrained.config.grounding(&text, sizes)?;
    let stats = args.stats.then_some(&stats);
    output::finish(
        args.format,
        &prompts[0].ids(),
        &answers[0],
        grounding.as_ref(),
        stats,
    );
    Ok(())
}

fn post_process(config: &AnyConfig, answer: &str, sizes: &[Size]) -> Result<(), Error> {
    let Some(grounding) = config.grounding(answer, sizes)? else {
        let message = "--post-process: answers of this model's family have no boxes or points";
        return Err(Error::Usage(message.to_owned()));
    };
    output::write(&format!("{}\n", serde_json::json!(grounding)));
    Ok(())
}

/// What is asked; nothing for a conversation or a file of requests.
fn prompt(args: &Args) -> Result<Option<Prompt>, Error> {
    if let Some(question) = &args.question {
        return Ok(Some(Prompt::Question(question.clone())));
    }
    if let Some(text) = &args.prompt {
        return Ok(Some(Prompt::Text(text.clone())));
    }
    let Some(path) = &args.messages else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).map_err(vlm::core::Error::io(path))?;
    let messages = serde_json::from_str(&text).map_err(vlm::core::Error::json(path))?;
    Ok(Some(Prompt::Messages(messages)))
}
