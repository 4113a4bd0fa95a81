//! A fresh model of the size that this world needs: a LLaVA of some four million parameters.

use std::{collections::BTreeSet, fs, path::Path};

use burn::{
    module::Param,
    tensor::{Device, Tensor},
};
use serde_json::{Value, json};
use tokenizers::{
    AddedToken, SplitDelimiterBehavior, Tokenizer,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
    },
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split as SplitRule, SplitPattern},
    },
};
use vlm::{
    chat_template::grounding::LocationMarkup,
    core::{
        Error,
        nn::{Activation, RotaryConfig},
    },
    llava::{LlavaConfig, Tower},
    prelude::*,
    text::{DecoderKind, PositionEmbedding},
};

use super::{Lesson, Split, World, fresh, location::BINS};

/// Tokens with a meaning of their own, in the order of their ids.
const SPECIAL: [&str; 6] = ["<pad>", "<s>", "</s>", "<image>", "<user>", "<assistant>"];
/// Pictures whose texts the tokenizer learns from.
const CORPUS: u64 = 4000;
/// Tokens that stand for texts.
const MERGED: usize = 640;

/// How a conversation is written down.
const TEMPLATE: &str = include_str!("chat_template.jinja");

/// The model's numbers, for a vocabulary of `vocab_size`.
pub fn config(vocab_size: usize) -> LlavaConfig {
    let vision = VitConfig {
        hidden_size: 192,
        intermediate_size: 640,
        num_hidden_layers: 6,
        num_attention_heads: 3,
        image_size: 96,
        patch_size: 12,
        hidden_act: Activation::Gelu,
        ..vlm::clip::vit_base_patch32(FeatureSelection::new(vec![-1], true))
    };
    let positions = RotaryConfig::new(48).with_max_position_embeddings(512);
    let text = CausalLmConfig::new(vocab_size, 192, 512, 4, 4)
        .with_norm_eps(1e-5)
        .with_positions(Some(PositionEmbedding::Rotary(positions)))
        .with_tie_word_embeddings(true);
    LlavaConfig::new(vision, Tower::Clip, text, DecoderKind::Llama)
        .with_image_token_id(id("<image>"))
}

/// Writes a fresh model with its tokenizer, chat template and processor: a folder that `train` goes on from.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write(folder: &Path, seed: u64) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let tokenizer = tokenizer(seed)?;
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io(&path))
    };
    let json = |name: &str, value: Value| save(name, format!("{value:#}\n"));
    let text = tokenizer
        .to_string(true)
        .map_err(|error| Error::Request(error.to_string()))?;
    save("tokenizer.json", text)?;
    save("chat_template.jinja", TEMPLATE.to_owned())?;
    let names = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "processor_class": "LlavaProcessor",
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "padding_side": "left",
        "clean_up_tokenization_spaces": false, "model_max_length": 512,
    });
    json("tokenizer_config.json", names)?;
    let config = config(tokenizer.get_vocab_size(true));
    let side = config.vision.image_size;
    let processor = json!({
        "processor_class": "LlavaProcessor", "image_token": "<image>",
        "patch_size": config.vision.patch_size, "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
        "image_processor": {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": true, "do_resize": true, "size": { "shortest_edge": side }, "resample": 3,
            "do_center_crop": true, "crop_size": { "height": side, "width": side },
            "do_rescale": true, "rescale_factor": 1.0 / 255.0,
            "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        },
    });
    json("processor_config.json", processor)?;
    let ends = json!({ "bos_token_id": id("<s>"), "eos_token_id": id("</s>"), "pad_token_id": id("<pad>") });
    json("generation_config.json", ends)?;
    let mut written = config.to_hf()?;
    written["dtype"] = json!("float32");
    json("config.json", written)?;
    let device = Device::default();
    device.seed(seed);
    let mut model = fresh::scaled(config.init(&device));
    let vision = &config.vision;
    let positions = fresh::positions(vision.image_size / vision.patch_size, vision.hidden_size);
    let positions = Tensor::from_data(positions, &device);
    model.encoder.position_embedding = Param::from_tensor(positions);
    vlm::checkpoint::save(&model, &config.keys(), folder, usize::MAX)
}

fn id(special: &str) -> u32 {
    SPECIAL
        .iter()
        .position(|token| *token == special)
        .unwrap_or_default() as u32
}

/// Bytes joined as the world's texts have them often; capitals that make words and digits stay single, so that
/// a word that was never seen is read as any other.
fn tokenizer(seed: u64) -> Result<Tokenizer, Error> {
    let failed = |error: tokenizers::Error| Error::Request(format!("the tokenizer: {error}"));
    let mut tokenizer = Tokenizer::new(BPE::default());
    let single = SplitPattern::Regex("[A-Z](?![a-z])|[0-9]".to_owned());
    let single = SplitRule::new(single, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
    let bytes = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![single.into(), bytes.into()])));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer
        .add_special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)))
        .map_err(failed)?;
    let world = World::new(Split::Train, seed);
    let markup = LocationMarkup::default();
    let sheets = world.with_lesson(Lesson::Sheets);
    let turns = |index| [world.scene(index).turns, sheets.example(index).turns].concat();
    let texts = (0..CORPUS).flat_map(turns);
    let texts = texts.flat_map(|turn| [turn.text, markup.parse(&turn.answer).caption]);
    // Order decides ties.
    let texts: BTreeSet<String> = texts.collect();
    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(MERGED)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
            .build(),
    );
    tokenizer
        .train(&mut trainer, texts.into_iter())
        .map_err(failed)?;
    let locations = LocationMarkup::new(BINS).tokens();
    let locations = locations.map(|token| AddedToken::from(token, false).normalized(false));
    tokenizer
        .add_tokens(locations.collect::<Vec<_>>())
        .map_err(failed)?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use burn::tensor::FloatDType;

    use super::*;

    #[test]
    fn the_model_fits_a_package_and_its_words_are_spelt() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 0).unwrap();
        let weights = fs::metadata(folder.path().join("model.safetensors"))
            .unwrap()
            .len();
        // Sixteen bits a weight are shipped.
        assert!(weights / 2 < 9_000_000, "{weights}");
        let model =
            vlm::Pretrained::load(folder.path(), FloatDType::F32, &Device::default()).unwrap();
        let ids = model.processor.tokenizer().encode("MOUSE", false).unwrap();
        assert_eq!(ids.len(), 5);
        let text = "What colour is the circle?";
        let ids = model.processor.tokenizer().encode(text, false).unwrap();
        assert!(ids.len() <= 8, "{ids:?}");
        assert_eq!(model.processor.tokenizer().decode(&ids), text);
        let picture = World::new(Split::HeldOut, 0).example(0).image;
        model.ask("What is in the picture?", &[picture], 4).unwrap();
    }
}
