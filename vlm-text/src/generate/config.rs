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
    /// How the next token is chosen.
    pub sampling: SamplingConfig,
}

impl GenerationConfig {
    /// Greedy, until `max_new_tokens`.
    pub fn new(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            eos_token_ids: Vec::new(),
            sampling: SamplingConfig::greedy(),
        }
    }

    /// Takes the end-of-sequence ids from `generation_config.json`; where that file is absent, from
    /// `config.json`, the outer key before the language model's (`text_config`).
    ///
    /// # Errors
    ///
    /// When a file is damaged or an id is no id.
    pub fn with_ids_from(mut self, folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let generation = folder.join("generation_config.json");
        let (path, found) = match generation.is_file() {
            true => {
                let found = object(&generation)?.remove("eos_token_id");
                (generation, found)
            }
            false => {
                let path = folder.join("config.json");
                let mut outer = object(&path)?;
                let inner = outer
                    .get("text_config")
                    .and_then(|text| text.get("eos_token_id"));
                let inner = inner.cloned();
                let found = outer.remove("eos_token_id").filter(|id| !id.is_null());
                (path, found.or(inner))
            }
        };
        if let Some(found) = found.filter(|id| !id.is_null()) {
            self.eos_token_ids = ids(&found).ok_or_else(|| {
                let expected = "key `eos_token_id`: expected a token id or a list of them";
                Error::file(path, format!("{expected}, found {found}"))
            })?;
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
