//! A LLaVA of its three parts, and what passes between them. The weights are fresh, so the answer is noise.

use std::error::Error;

use burn::{
    module::Module,
    tensor::{DType, Device},
};
use vlm::{clip, core::ImageProcessor, prelude::*, vision::processor::PlainProcessor};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vlm/tests/fixtures");

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let tokenizer = Tokenizer::from_folder(format!("{FIXTURES}/llava/clip-llama"))?;
    let image_token = tokenizer.token_id("<image>").ok_or("no token <image>")?;

    // The numbers of CLIP-L/14 and of a Llama, made small.
    let vision = VitConfig {
        image_size: 56,
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        // LLaVA looks at the last layer but one, and not at the class token.
        ..clip::vit_large_patch14_336(FeatureSelection::new(vec![-2], true))
    };
    let text = CausalLmConfig::new(tokenizer.vocab_size(), 96, 192, 2, 4);
    let projector =
        MlpProjectorConfig::new(vision.feature_size(), text.hidden_size, Activation::Gelu);
    let llava: Llava = Vlm::new(
        vision.init(&device),
        projector.init(&device),
        text.init(&device),
    );
    println!("{} parameters", llava.num_params());

    // On the host: a picture becomes numbers.
    let keys = r#"{"image_processor_type": "CLIPImageProcessor", "size": 56, "crop_size": 56}"#;
    let processor: PlainProcessor = serde_json::from_str(keys)?;
    let photo = vlm::open_image(format!("{FIXTURES}/images/chelsea.png"))?;
    let picture = processor.process(&photo)?;

    // On the device: numbers become features, and features what a language model reads.
    let pixels = ImageBatch::new([&picture], &device, DType::F32);
    let features = llava.encoder.forward(&pixels);
    let visual = llava.projector.forward(features.clone());
    println!("pixels        {:?}", pixels.pixels.dims());
    println!("features      {:?}", features.dims());
    println!("visual tokens {:?}", visual.dims());

    // The placeholder makes room for them.
    let ids = tokenizer.encode("USER: <image>\nWhat is it? ASSISTANT:", true)?;
    let tokens = LlavaTokens::new(image_token, &vision);
    let prompt = Sequence::lay_out(&ids, &[picture.layout], &tokens)?;
    println!("{} ids are {} positions", ids.len(), prompt.len());

    let (config, images) = (GenerationConfig::new(8), Images::Tokens(visual));
    let answers = generate(&llava, &[prompt], Some(images), &config, &device)?;
    println!("answer: {:?}", tokenizer.decode(&answers[0].tokens));
    Ok(())
}
