use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use image::RgbImage;
use rayon::prelude::*;
use serde::Deserialize;
use vlm::{
    Error, Pretrained, Processor, Prompt, Request,
    chat_template::Message,
    core,
    text::{GenerationConfig, generate_text, prefill},
};

use crate::{
    args::Format,
    output::{to_json, write},
};

/// A line of a file of requests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    images: Vec<PathBuf>,
    question: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
}

/// Reads and processes the requests of a file.
pub fn read(path: &Path, processor: &Processor) -> Result<Vec<Request>, Error> {
    let text = std::fs::read_to_string(path).map_err(core::Error::io(path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let requests = lines.map(|(index, line)| {
        let named = |message: String| {
            let message = format!("line {}: {message}", index + 1);
            Error::from(core::Error::file(path, message))
        };
        let line: Line = serde_json::from_str(line).map_err(|error| named(error.to_string()))?;
        let prompt = match (line.question, line.prompt, line.messages) {
            (Some(question), None, None) => Prompt::Question(question),
            (None, Some(prompt), None) => Prompt::Text(prompt),
            (None, None, Some(messages)) => Prompt::Messages(messages),
            _ => {
                let message = "expected one of `prompt`, `messages` and `question`";
                return Err(named(message.to_owned()));
            }
        };
        let images = line.images.par_iter();
        let images = images.map(|image| vlm::open_image(folder.join(image)));
        let images: Vec<Result<_, _>> = images.collect();
        let images: Vec<RgbImage> = images
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| named(error.to_string()))?;
        let request = processor.process(&prompt, &images);
        request.map_err(|error| named(error.to_string()))
    });
    let requests: Vec<Request> = requests.collect::<Result<_, _>>()?;
    match requests.is_empty() {
        false => Ok(requests),
        true => Err(core::Error::file(path, "expected a request a line, found none").into()),
    }
}

/// Answers all requests as one batch and prints a result a line.
pub fn run(
    pretrained: &Pretrained,
    requests: &[Request],
    config: &GenerationConfig,
    format: Format,
) -> Result<(), Error> {
    let device = pretrained.device();
    let images = Request::images(requests, device, pretrained.dtype().into());
    let prompts: Vec<_> = requests
        .iter()
        .map(|request| request.sequence.clone())
        .collect();
    let tokenizer = pretrained.processor.tokenizer();
    let prefilled = prefill(&pretrained.model, &prompts, images, config, device)?;
    let silent = |_: usize, _: &str| ControlFlow::Continue(());
    let answers = generate_text(&pretrained.model, tokenizer, prefilled, config, silent)?;
    for (request, answer) in requests.iter().zip(&answers) {
        let line = match format {
            Format::Json => {
                let originals = request.images.iter().map(|image| image.layout.original);
                let sizes: Vec<_> = originals.collect();
                let grounding = pretrained.grounding(&answer.generated.tokens, &sizes)?;
                to_json(&request.sequence.ids(), answer, grounding.as_ref()).to_string()
            }
            // A result is a line.
            Format::Text => answer.text.replace('\n', "\\n"),
        };
        write(&format!("{line}\n"));
    }
    Ok(())
}
