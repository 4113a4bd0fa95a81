//! A Kosmos-2 of its parts: a CLIP tower, learned queries that look at its features, a decoder that is taught
//! places as tokens. The weights are fresh; what a trained one writes is read at the end.

use std::error::Error;

use burn::tensor::{DType, Device};
use vlm::{
    chat_template::grounding::Kosmos2Markup,
    clip,
    nn::SinusoidalConfig,
    prelude::*,
    text::{PositionEmbedding, kosmos2},
};

const LATENTS: usize = 4;
const IMAGE: u32 = 90;
const IMAGE_END: u32 = 91;

/// A picture is its marks with the latents between them, however large it is.
#[derive(Debug)]
struct Marked;

impl ImageTokens for Marked {
    fn image_token_id(&self) -> u32 {
        IMAGE
    }

    fn lay_out(&self, _layout: &ImageLayout) -> Result<Vec<Slot>, vlm::core::Error> {
        let latents = (0..LATENTS).map(|token| Slot::visual(IMAGE, 0, token));
        let begin = std::iter::once(Slot::text(IMAGE));
        Ok(begin
            .chain(latents)
            .chain([Slot::text(IMAGE_END)])
            .collect())
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let vision = VitConfig {
        image_size: 56,
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        // All tokens of the last layer, normalised.
        ..clip::vit_large_patch14_224(FeatureSelection::new(vec![-1], false).with_post_norm(true))
    };
    let (hidden, heads) = (64, 4);
    // The real decoder in small. Its first position has the number 2, as in a file of fairseq.
    let positions = SinusoidalConfig::new(hidden).with_first_position(2);
    let text = CausalLmConfig {
        vocab_size: 100,
        hidden_size: hidden,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: heads,
        positions: Some(PositionEmbedding::Sinusoidal(positions)),
        embed_scale: Some((hidden as f64).sqrt()),
        ..kosmos2::patch14_224()
    };
    let resampler = ResamplerConfig::new(vision.feature_size(), hidden, LATENTS, heads);
    let model: Kosmos2 = Vlm::new(
        vision.init(&device),
        resampler.init(&device),
        text.init(&device),
    );

    let picture = ProcessedImage {
        pixels: vec![0.5; 3 * 56 * 56],
        layout: ImageLayout::whole(Size::new(56, 56)),
    };
    let pixels = ImageBatch::new([&picture], &device, DType::F32);
    let features = model.encoder.forward(&pixels);
    println!("features      {:?}", features.dims());
    println!(
        "visual tokens {:?}",
        model.projector.forward(features).dims()
    );
    let prompt = Sequence::lay_out(&[0, IMAGE, 5], &[picture.layout], &Marked)?;
    println!("prompt        {:?}", prompt.ids());
    let images = Some(Images::Pixels(pixels));
    let answers = generate(
        &model,
        &[prompt],
        images,
        &GenerationConfig::new(6),
        &device,
    )?;
    println!("answer        {:?}", answers[0].tokens);

    let trained =
        "<phrase> A dog</phrase><object><patch_index_0099><patch_index_0911></object> runs";
    let grounding = Kosmos2Markup::default().parse(trained);
    println!("\n{:?}", grounding.caption);
    for entity in &grounding.entities {
        let [left, top, right, bottom] = entity.boxes[0].to_pixels(480, 640);
        println!(
            "{:?}: x {left} to {right}, y {top} to {bottom}",
            entity.text
        );
    }
    Ok(())
}
