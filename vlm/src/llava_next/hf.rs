use serde_json::{Value, json};
use vlm_core::{
    ConfigReader, Error,
    checkpoint::{KeyMap, Layout},
};

use super::LlavaNextConfig;
use crate::llava::LlavaConfig;

impl LlavaNextConfig {
    /// Reads a `config.json`; defaults are those of transformers' `LlavaNextConfig`.
    ///
    /// # Errors
    ///
    /// When a key cannot be honoured.
    pub fn from_hf(mut reader: ConfigReader) -> Result<Self, Error> {
        reader.only("model_type", "llava_next".to_owned())?;
        reader.only("use_image_newline_parameter", true)?;
        let pinpoints: Option<Vec<[usize; 2]>> = reader.get("image_grid_pinpoints")?;
        let config = Self::new(LlavaConfig::parts(&mut reader)?);
        let vision = &config.llava.vision;
        let side = vision.image_size;
        // The reference folds the features of a tile into a grid.
        let grid = side / vision.patch_size;
        if vision.num_tokens(vlm_core::Size::new(side, side)) != grid * grid {
            let message = "the tower's features do not fill the grid of a tile: expected default \
                           with a class token, full without";
            return Err(reader.error("vision_feature_select_strategy", message));
        }
        let config = match pinpoints {
            Some(pinpoints) => config.with_image_grid_pinpoints(pinpoints),
            None => config,
        };
        let misfit = |pinpoint: &&[usize; 2]| {
            let tiled = |length: &usize| *length > 0 && length.is_multiple_of(side);
            !pinpoint.iter().all(tiled)
        };
        if let Some(pinpoint) = config.image_grid_pinpoints.iter().find(misfit) {
            let message =
                format!("expected multiples of the tower's image_size {side}, found {pinpoint:?}");
            return Err(reader.error("image_grid_pinpoints", message));
        }
        reader.finish()?;
        Ok(config)
    }

    /// The configuration as transformers writes it.
    ///
    /// # Errors
    ///
    /// When the language model's family has no key for one of its settings.
    pub fn to_hf(&self) -> Result<Value, Error> {
        let mut value = self.llava.to_hf()?;
        value["architectures"] = json!(["LlavaNextForConditionalGeneration"]);
        value["model_type"] = json!("llava_next");
        value["image_grid_pinpoints"] = json!(self.image_grid_pinpoints);
        Ok(value)
    }

    /// Keys of a checkpoint: LLaVA's, and the vector at the end of rows.
    pub fn keys(&self) -> KeyMap {
        self.llava
            .keys()
            .modules("model.image_newline", "image_newline")
            .tensor("image_newline", "separators", Layout::Row)
    }
}
