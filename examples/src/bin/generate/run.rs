use std::{ops::ControlFlow, time::Instant};

use image::RgbImage;
use rayon::prelude::*;
use vlm::{
    AnyConfig, Error, Plan, Pretrained, Processor, Prompt, Request,
    chat_template::{Message, grounding::Grounding},
    core::{Images, Size, VisionLanguageModel},
    text::{GenerationConfig, generate_text, prefill},
    vision::processor::size_of,
};

use crate::{
    args::{Args, Format},
    chat, draw, logits, model, output, requests, settings,
    stats::{Stats, tokens_per_second},
};

pub fn run(args: &Args) -> Result<(), Error> {
    settings::check(args)?;
    vlm::kernels::Path::from_variable().map_err(Error::Usage)?;
    vlm::kernels::keep_memory();
    let device = vlm::parse_device(&args.device)?;
    let dtype = args.dtype.float();
    if !device.supports_dtype(dtype) {
        let message = format!(
            "device `{}` does not compute in {:?}",
            args.device, args.dtype
        );
        return Err(Error::Usage(message));
    }
    // Weights last: a wrong picture or prompt should not wait for gigabytes.
    let images: Vec<Result<_, _>> = args.image.par_iter().map(vlm::open_image).collect();
    let images: Vec<RgbImage> = images.into_iter().collect::<Result<_, _>>()?;
    let sizes: Vec<Size> = images.iter().map(size_of).collect();
    let folder = model::folder(args.model.as_deref())?;
    let config = AnyConfig::from_folder(&folder)?;
    if let Some(answer) = &args.post_process {
        return post_process(args, &config, answer, &images);
    }
    let prompt = prompt(args)?;
    let processor = Processor::from_folder(&folder, &config)?;
    if args.draw.is_some() && !draw::may_point(&config, processor.tokenizer(), &sizes)? {
        return Err(draw::no_grounding("--draw"));
    }
    let generation = settings::config(args, &folder, processor.tokenizer())?;
    if let Some(path) = &args.requests {
        let requests = requests::read(path, &processor)?;
        let pretrained = model::load(&folder, args, dtype, &device)?;
        return requests::run(&pretrained, &requests, &generation, args.format);
    }
    let Some(prompt) = prompt else {
        let pretrained = model::load(&folder, args, dtype, &device)?;
        return chat::run(&pretrained, images, generation);
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
    answer(args, &pretrained, request, &images, &generation, stats)
}

fn answer(
    args: &Args,
    pretrained: &Pretrained,
    request: Request,
    images: &[RgbImage],
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
    let decoding = Instant::now();
    let mut first_text = None;
    let tokenizer = pretrained.processor.tokenizer();
    let answers = generate_text(
        &pretrained.model,
        tokenizer,
        prefilled,
        config,
        |_, text| {
            first_text.get_or_insert_with(|| first.elapsed());
            if args.format == Format::Text {
                output::write(text);
            }
            ControlFlow::Continue(())
        },
    )?;
    // Text may come later than its tokens: half of a character, or of a stop string, waits.
    stats.first_token = stats.preprocess + first_text.unwrap_or_else(|| first.elapsed());
    stats.tokens_per_second = tokens_per_second(&answers[0], decoding.elapsed());
    let sizes: Vec<Size> = images.iter().map(size_of).collect();
    let grounding = pretrained.grounding(&answers[0].generated.tokens, &sizes)?;
    let stats = args.stats.then_some(&stats);
    output::finish(
        args.format,
        &prompts[0].ids(),
        &answers[0],
        grounding.as_ref(),
        stats,
    );
    drawn(args, images, grounding.as_ref())
}

fn post_process(
    args: &Args,
    config: &AnyConfig,
    answer: &str,
    images: &[RgbImage],
) -> Result<(), Error> {
    let sizes: Vec<Size> = images.iter().map(size_of).collect();
    let Some(grounding) = config.grounding(answer, &sizes)? else {
        return Err(draw::no_grounding("--post-process"));
    };
    output::write(&format!("{}\n", serde_json::json!(grounding)));
    drawn(args, images, Some(&grounding))
}

fn drawn(args: &Args, images: &[RgbImage], grounding: Option<&Grounding>) -> Result<(), Error> {
    let entities = grounding.map_or(&[][..], |found| &found.entities);
    match (&args.draw, images) {
        (Some(path), [picture]) => draw::write(path, picture, entities),
        _ => Ok(()),
    }
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
    let messages: Vec<Message> =
        serde_json::from_str(&text).map_err(vlm::core::Error::json(path))?;
    if messages.is_empty() {
        let message = "expected a message or more, found none";
        return Err(vlm::core::Error::file(path, message).into());
    }
    Ok(Some(Prompt::Messages(messages)))
}
