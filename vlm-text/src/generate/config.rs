use std::path::Path;

use serde_json::{Map, Value};
use vlm_core::Error;

use super::SamplingConfig;

/// How long and by which rule tokens are generated.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Tokens after which a row ends in any case.
    pub max_new_tokens: usize,
    /// Tokens that end a row; they are not part of the answer.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills shorter rows of a batch.
    pub pad_token_id: u32,
    /// How the next token is chosen.
    pub sampling: SamplingConfig,
}

impl GenerationConfig {
    /// Greedy, until `max_new_tokens`.
    pub fn new(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            eos_token_ids: Vec::new(),
            pad_token_id: 0,
            sampling: SamplingConfig::greedy(),
        }
    }

    /// Takes the end-of-sequence and padding ids from `generation_config.json`; where that file or a key is
    /// absent, from the keys of `config.json`, the language model's (`text_config`) before the outer ones.
    ///
    /// # Errors
    ///
    /// When a file is damaged or an id is no id.
    pub fn with_ids_from(mut self, folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let generation = folder.join("generation_config.json");
        let config = folder.join("config.json");
        let mut places = Vec::new();
        if generation.is_file() {
            places.push((generation.clone(), object(&generation)?));
        }
        if config.is_file() {
            let outer = object(&config)?;
            if let Some(Value::Object(text)) = outer.get("text_config") {
                places.push((config.clone(), text.clone()));
            }
            places.push((config, outer));
        }
        let find = |key: &str| {
            places.iter().find_map(|(path, keys)| {
                let value = keys.get(key).filter(|value| !value.is_null())?;
                Some(ids(value).ok_or_else(|| {
                    Error::file(
                        path,
                        format!(
                            "key `{key}`: expected a token id or a list of them, found {value}"
                        ),
                    )
                }))
            })
        };
        if let Some(found) = find("eos_token_id") {
            self.eos_token_ids = found?;
        }
        if let Some(found) = find("pad_token_id") {
            self.pad_token_id = found?.first().copied().unwrap_or(0);
        }
        Ok(self)
    }

    /// Chooses tokens by `sampling`.
    #[must_use]
    pub fn with_sampling(mut self, sampling: SamplingConfig) -> Self {
        self.sampling = sampling;
        self
    }
}

fn object(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(Error::json(path))
}

fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match value {
        Value::Array(values) => values.iter().map(id).collect(),
        value => Some(vec![id(value)?]),
    }
}
