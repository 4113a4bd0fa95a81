use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use serde_json::{Map, Value};
use vlm_core::Error;

use super::{BeamConfig, SamplingConfig};

/// How long and by which rule tokens are generated, in transformers' names.
///
/// ```
/// use vlm_text::{BeamConfig, GenerationConfig};
/// let config = GenerationConfig::new(64).with_beams(BeamConfig::new(3)).with_stop_strings(["\n\n"]);
/// assert_eq!(config.beams.num_beams, 3);
/// ```
#[derive(Clone, Debug)]
pub struct GenerationConfig {
    /// Tokens after which a row ends in any case.
    pub max_new_tokens: usize,
    /// Time after which all rows end, counted from the first choice of a token; a step is never broken off.
    pub max_time: Option<Duration>,
    /// All rows end after the step in which it became true: set it from another thread or a signal's handler.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Tokens that end a row; they are not part of the answer.
    pub eos_token_ids: Vec<u32>,
    /// Texts that end a row where the answer has one, whatever the prompt has. They need a tokenizer:
    /// [`generate_text`](super::generate_text) has one.
    pub stop_strings: Vec<String>,
    /// How the next token is chosen.
    pub sampling: SamplingConfig,
    /// Whether several answers are written side by side, of which the best count.
    pub beams: BeamConfig,
    /// Answers to each prompt.
    pub num_return_sequences: usize,
    /// Whether answers tell the log-probability of each token.
    pub log_probs: bool,
}

impl GenerationConfig {
    /// Greedy, until `max_new_tokens`.
    pub fn new(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            max_time: None,
            cancel: None,
            eos_token_ids: Vec::new(),
            stop_strings: Vec::new(),
            sampling: SamplingConfig::greedy(),
            beams: BeamConfig::new(1),
            num_return_sequences: 1,
            log_probs: false,
        }
    }

    /// Takes the end-of-sequence ids from a checkpoint's `generation_config.json`; where that file is absent, from
    /// `config.json`, the outer key before the language model's (`text_config`).
    ///
    /// ```
    /// use vlm_text::GenerationConfig;
    /// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama");
    /// let config = GenerationConfig::new(64).with_ids_from(folder)?;
    /// assert_eq!(config.eos_token_ids, [2]);
    /// # Ok::<(), vlm_core::Error>(())
    /// ```
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

    /// Writes several answers side by side, of which the best count.
    #[must_use]
    pub fn with_beams(mut self, beams: BeamConfig) -> Self {
        self.beams = beams;
        self
    }

    /// Ends a row where one of the texts appears.
    #[must_use]
    pub fn with_stop_strings(mut self, stops: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.stop_strings = stops.into_iter().map(Into::into).collect();
        self
    }

    /// Refuses what contradicts itself or cannot be.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.sampling.check()?;
        let (beams, returned) = (self.beams.num_beams, self.num_return_sequences);
        let message = match (beams, returned) {
            (0, _) => "num_beams: expected 1 or more, found 0".to_owned(),
            (_, 0) => "num_return_sequences: expected 1 or more, found 0".to_owned(),
            (1, 2..) if !self.sampling.is_random() => format!(
                "num_return_sequences: greedy decoding has one answer, found {returned} (sample, or search with beams)"
            ),
            (2.., _) if returned > beams => {
                format!(
                    "num_return_sequences: expected num_beams {beams} at most, found {returned}"
                )
            }
            _ if self.stop_strings.iter().any(String::is_empty) => {
                "stop_strings: expected a text, found an empty one".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Error::Request(message))
    }
}

pub(super) fn object(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(Error::json(path))
}

pub(super) fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match value {
        Value::Array(values) => values.iter().map(id).collect(),
        value => Some(vec![id(value)?]),
    }
}
