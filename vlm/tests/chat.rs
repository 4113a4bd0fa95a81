//! A conversation answers as fresh runs of its history do, and reads only what is new.

mod common;

use std::ops::ControlFlow;

use burn::tensor::{Device, FloatDType};
use common::{load, open};
use image::RgbImage;
use vlm::{
    Chat, Pretrained, Prompt, Request,
    chat_template::{Message, Part},
    core::checkpoint::Checkpoint,
    text::{BeamConfig, GenerationConfig, generate},
};

const CASE: &str = "llava/clip-llama";

fn config(pretrained: &Pretrained) -> GenerationConfig {
    pretrained.generation_config(6).unwrap()
}

fn show(_: &str) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The answer's tokens and the prompt's length, without anything remembered.
fn fresh(pretrained: &Pretrained, messages: &[Message], images: &[RgbImage]) -> (Vec<u32>, usize) {
    let prompt = Prompt::Messages(messages.to_vec());
    let request = pretrained.processor.process(&prompt, images).unwrap();
    let device = pretrained.device();
    let visual = Request::images(
        std::slice::from_ref(&request),
        device,
        FloatDType::F32.into(),
    );
    let prompts = [request.sequence];
    let answers = generate(
        &pretrained.model,
        &prompts,
        visual,
        &config(pretrained),
        device,
    );
    (answers.unwrap().remove(0).tokens, prompts[0].len())
}

fn question(text: &str, images: usize) -> Message {
    let parts = std::iter::repeat_with(Part::image).take(images);
    Message::user(parts.chain([Part::text(text)]).collect::<Vec<_>>())
}

#[test]
fn turns_equal_fresh_runs_and_read_what_is_new() {
    let pretrained = load(CASE, &Device::flex());
    let images = open(CASE, &["../../images/chelsea.png".into()]);
    let config = config(&pretrained);
    let mut chat = Chat::new(&pretrained);
    let mut history = Vec::new();
    let mut lengths = Vec::new();
    for (turn, text) in ["What is this?", "And now?", "Why?"]
        .into_iter()
        .enumerate()
    {
        let new = if turn == 0 {
            images.clone()
        } else {
            Vec::new()
        };
        history.push(question(text, new.len()));
        let (expected, length) = fresh(&pretrained, &history, &images);
        let answer = chat.ask(text, new, &config, show).unwrap();
        assert_eq!(answer.generated.tokens, expected, "turn {turn}");
        match turn {
            0 => assert_eq!(chat.tokens_read(), length),
            // Its own text, and at most the answer before it, whose tokens a tokenizer may join otherwise.
            _ => assert!(
                chat.tokens_read() <= length - lengths[turn - 1],
                "turn {turn}: {} of {length} read",
                chat.tokens_read()
            ),
        }
        lengths.push(length);
        history.push(Message::assistant(vec![Part::text(answer.text.trim())]));
    }
    assert_eq!(chat.messages(), history);
    // After a reset the same picture and question are in the cache but for the last position.
    chat.reset();
    let again = chat
        .ask("What is this?", images.clone(), &config, show)
        .unwrap();
    assert_eq!(chat.tokens_read(), 1);
    assert_eq!(
        again.generated.tokens,
        fresh(&pretrained, &history[..1], &images).0
    );
    // Another picture is another content: all from its place on is read.
    let other = open(CASE, &["../../images/coffee.png".into()]);
    assert_ne!(other, images);
    chat.reset();
    let answer = chat
        .ask("What is this?", other.clone(), &config, show)
        .unwrap();
    assert!(chat.tokens_read() > lengths[0] / 2);
    assert_eq!(
        answer.generated.tokens,
        fresh(&pretrained, &history[..1], &other).0
    );
}

#[test]
fn a_failed_turn_leaves_the_conversation() {
    let pretrained = load(CASE, &Device::flex());
    let mut chat = Chat::new(&pretrained);
    let config = config(&pretrained);
    chat.ask("One?", Vec::new(), &config, show).unwrap();
    let long = pretrained.generation_config(100_000).unwrap();
    let error = chat.ask("Two?", Vec::new(), &long, show).unwrap_err();
    assert!(error.to_string().contains("256 are allowed"), "{error}");
    assert_eq!(chat.messages().len(), 2);
    // Searching, then cancelling, then going on.
    let beams = config.clone().with_beams(BeamConfig::new(2));
    chat.ask("Two?", Vec::new(), &beams, show).unwrap();
    let stop = |_: &str| ControlFlow::Break(());
    chat.ask("Three?", Vec::new(), &config, stop).unwrap();
    let history = chat.messages().to_vec();
    let answer = chat.ask("Four?", Vec::new(), &config, show).unwrap();
    let history = [history, vec![question("Four?", 0)]].concat();
    assert_eq!(answer.generated.tokens, fresh(&pretrained, &history, &[]).0);
}

#[test]
fn without_a_template_a_question_stands_alone() {
    const CASE: &str = "kosmos2/grounding";
    let pretrained = load(CASE, &Device::flex());
    let open = |name: &str| open(CASE, &[format!("../../images/{name}.png").into()]);
    let (cat, cup) = (open("chelsea"), open("coffee"));
    let config = config(&pretrained);
    let mut chat = Chat::new(&pretrained);
    assert!(!chat.remembers());
    let turns = [
        ("What is it?", &cat, true),
        ("Where is it?", &cat, false),
        ("And this?", &cup, true),
        ("Why?", &cup, false),
    ];
    for (text, picture, is_new) in turns {
        let new = if is_new { picture.clone() } else { Vec::new() };
        let answer = chat.ask(text, new, &config, show).unwrap();
        let alone = pretrained.ask(text, picture, 6).unwrap();
        assert_eq!(answer.text, alone, "{text}");
    }
    assert_eq!(chat.messages().len(), 2 * turns.len());
    // What fails leaves the pictures as they were.
    let two = [cat.clone(), cup.clone()].concat();
    assert!(chat.ask("Compare them.", two, &config, show).is_err());
    let answer = chat.ask("Why?", Vec::new(), &config, show).unwrap();
    assert_eq!(answer.text, pretrained.ask("Why?", &cup, 6).unwrap());
}

#[test]
fn an_adapter_of_peft_fits_a_llava() {
    let folder = common::folder(CASE).join("../../adapters/clip-llama");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let images: Vec<std::path::PathBuf> =
        serde_json::from_value(expected["images"].clone()).unwrap();
    let images = open(CASE, &images);
    let tensors = Checkpoint::open_file(folder.join("expected.safetensors")).unwrap();
    let logits = tensors.read("logits", FloatDType::F32).unwrap();
    let logits: Vec<f32> = logits.try_into_vec().unwrap();
    let device = Device::flex();
    let mut pretrained = load(CASE, &device).with_adapter(&folder).unwrap();
    for merged in [false, true] {
        if merged {
            pretrained.model = burn::module::Module::materialize(pretrained.model);
        }
        let prompt = Prompt::Text(expected["prompt"].as_str().unwrap().to_owned());
        let request = pretrained.processor.process(&prompt, &images).unwrap();
        let visual = Request::images(
            std::slice::from_ref(&request),
            &device,
            FloatDType::F32.into(),
        );
        let config = config(&pretrained);
        let prefilled = vlm::text::prefill(
            &pretrained.model,
            &[request.sequence],
            visual,
            &config,
            &device,
        );
        let hidden = prefilled.unwrap().hidden;
        let found = vlm::core::VisionLanguageModel::logits(&pretrained.model, hidden);
        let error = common::relative_error(&common::values(found), &logits);
        assert!(error < common::F32, "merged {merged}: {error:e}");
    }
}
