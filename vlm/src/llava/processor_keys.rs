use std::path::Path;

use serde_json::Value;
use vlm_core::{ConfigReader, Error};
use vlm_text::Tokenizer;

use super::LlavaConfig;

impl LlavaConfig {
    /// Compares the keys that transformers' `LlavaProcessor` has at the top of `processor_config.json` with
    /// the model.
    ///
    /// The reference counts a picture's placeholders by these keys and fails where the tower gives another
    /// number of features. Here the tower decides, so a key may be absent, but none may contradict it: files of
    /// the hub lack `num_additional_image_tokens`, and are served.
    ///
    /// # Errors
    ///
    /// When the file is damaged, or a key is not known or contradicts `config.json` or the tokenizer.
    pub fn check_processor_keys(&self, folder: &Path, tokenizer: &Tokenizer) -> Result<(), Error> {
        let path = folder.join("processor_config.json");
        if !path.is_file() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let value: Value = serde_json::from_str(&text).map_err(Error::json(&path))?;
        let keys = ConfigReader::new(value).map_err(|error| error.in_file(&path))?;
        self.check(keys, tokenizer)
            .map_err(|error| error.in_file(&path))
    }

    fn check(&self, mut keys: ConfigReader, tokenizer: &Tokenizer) -> Result<(), Error> {
        // Read elsewhere, or a name without effect.
        keys.ignore(&[
            "image_processor",
            "processor_class",
            "auto_map",
            "tokenizer",
        ]);
        keys.only("patch_size", self.vision.patch_size)?;
        let class_tokens = usize::from(self.vision.class_token);
        keys.only("num_additional_image_tokens", class_tokens)?;
        let strategy = match self.vision.features.drop_first_token {
            true => "default",
            false => "full",
        };
        keys.only("vision_feature_select_strategy", strategy.to_owned())?;
        // A tokenizer that names the token itself is asked first, as in the reference.
        let written: Option<String> = keys.get("image_token")?;
        if let (Some(token), None) = (&written, tokenizer.special_token("image"))
            && tokenizer.token_id(token) != Some(self.image_token_id)
        {
            let id = self.image_token_id;
            let expected = tokenizer.token(id).unwrap_or_default();
            let message = format!(
                "expected `{expected}`, the token of image_token_index {id} in config.json, found `{token}`"
            );
            return Err(keys.error("image_token", message));
        }
        let message = "a template stands in chat_template.jinja or chat_template.json";
        keys.only_absent("chat_template", message)?;
        keys.finish()
    }
}
