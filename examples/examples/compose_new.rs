//! An architecture that does not exist: SigLIP, learned queries and Qwen2. It learns to name the colour of a
//! picture, and then names those of shades that it has not seen.

use std::error::Error;

use burn::{
    module::Module,
    tensor::{DType, Device},
};
use vlm::{prelude::*, qwen2, siglip, train::*};

// The whole language: what stands for a picture, a question, its answers, the end.
const WORDS: [&str; 6] = ["<image>", "colour?", "red", "green", "blue", "</s>"];
const IMAGE: u32 = 0;
const ASK: u32 = 1;
const FIRST: u32 = 2;
const END: u32 = 5;
const SIDE: usize = 16;
const LATENTS: usize = 2;

#[derive(Debug)]
struct Latents;

impl ImageTokens for Latents {
    fn image_token_id(&self) -> u32 {
        IMAGE
    }

    fn lay_out(&self, _layout: &ImageLayout) -> Result<Vec<Slot>, vlm::core::Error> {
        let slot = |token| Slot::visual(IMAGE, 0, token);
        Ok((0..LATENTS).map(slot).collect())
    }
}

/// A plain picture in a shade of red, green or blue.
fn picture(colour: usize, shade: f32) -> ProcessedImage {
    let value = |channel| {
        if channel == colour {
            0.8 - shade
        } else {
            shade - 0.8
        }
    };
    ProcessedImage {
        pixels: (0..3)
            .flat_map(|channel| [value(channel); SIDE * SIDE])
            .collect(),
        layout: ImageLayout::whole(Size::new(SIDE, SIDE)),
    }
}

fn sequence(ids: &[u32], picture: &ProcessedImage) -> Result<Sequence, vlm::core::Error> {
    Sequence::lay_out(ids, std::slice::from_ref(&picture.layout), &Latents)
}

fn sample(colour: usize, shade: f32) -> Result<Sample, vlm::core::Error> {
    let picture = picture(colour, shade);
    let sequence = sequence(&[IMAGE, ASK, FIRST + colour as u32, END], &picture)?;
    // The question is given, its answer is learned.
    let answer = sequence.len() - 2;
    Ok(Sample::new(sequence, vec![picture], |position| {
        position >= answer
    }))
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    device.seed(7);
    let vision = VitConfig {
        image_size: SIDE,
        patch_size: 8,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        ..siglip::base_patch16_224(FeatureSelection::new(vec![-1], false).with_post_norm(true))
    };
    let text = CausalLmConfig {
        vocab_size: WORDS.len(),
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        positions: None,
        ..qwen2::qwen2_0_5b()
    };
    let resampler = ResamplerConfig::new(vision.feature_size(), text.hidden_size, LATENTS, 2);
    let (vision, resampler) = (vision.init(&device), resampler.init(&device));
    let model = Selection::All.apply(Vlm::new(vision, resampler, text.init(&device)), false)?;

    let steps = 200;
    let config = TrainerConfig {
        learning_rate: 3e-3,
        projector_learning_rate: None,
        schedule: Schedule::new(ScheduleKind::Cosine, 0.1, steps),
        weight_decay: 0.0,
        adam_beta2: 0.999,
        max_grad_norm: 1.0,
        seed: 0,
    };
    let mut trainer = Trainer::new(model, config, &device, DType::F32);
    for step in 0..steps {
        // Two shades of every colour.
        let shade = |index: usize| ((2 * step + index / 3) % 17) as f32 / 25.0;
        let samples: Result<_, _> = (0..6)
            .map(|index| sample(index % 3, shade(index)))
            .collect();
        let report = trainer.step(&[MicroBatch::padded(samples?)]);
        if report.step == 1 || report.step % 50 == 0 {
            println!("step {:>3}: loss {:.4}", report.step, report.loss);
        }
    }

    let model = trainer.model.valid();
    let mut config = GenerationConfig::new(4);
    config.eos_token_ids = vec![END];
    for colour in 0..3 {
        let picture = picture(colour, 0.37);
        let prompt = sequence(&[IMAGE, ASK], &picture)?;
        let images = Images::Pixels(ImageBatch::new([&picture], &device, DType::F32));
        let answers = generate(&model, &[prompt], Some(images), &config, &device)?;
        let words: Vec<&str> = answers[0]
            .tokens
            .iter()
            .map(|id| WORDS[*id as usize])
            .collect();
        println!("a {} picture: {words:?}", WORDS[2 + colour]);
        assert_eq!(words, [WORDS[2 + colour]]);
    }
    Ok(())
}
