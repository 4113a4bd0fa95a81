use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};
use vlm_core::Error;

use super::{
    BeamConfig, EarlyStopping, GenerationConfig, LogitsProcessor, MinNewTokens, SequenceBias,
    config::{ids, object},
};

/// How a checkpoint wants its tokens chosen: `generation_config.json`.
///
/// ```
/// use serde_json::json;
/// use vlm_text::{CheckpointDefaults, GenerationConfig};
/// let keys = json!({ "do_sample": true, "temperature": 0.2, "top_p": null });
/// let defaults = CheckpointDefaults::new(keys.as_object().unwrap().clone());
/// assert_eq!(defaults.acting(), ["do_sample", "temperature"]);
/// let config = defaults.apply(GenerationConfig::new(64)).unwrap();
/// // 50 is transformers' own default for what is sampled and not said.
/// assert_eq!((config.sampling.temperature, config.sampling.top_k), (0.2, Some(50)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct CheckpointDefaults {
    keys: Map<String, Value>,
    path: PathBuf,
}

/// When a key does anything at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Sampling,
    Searching,
}
use When::{Always, Sampling, Searching};

/// What is honoured: the key, when it acts, and the number that does nothing.
const HONOURED: [(&str, When, Option<f64>); 17] = [
    ("do_sample", Always, None),
    ("temperature", Sampling, Some(1.0)),
    ("top_k", Sampling, None),
    ("top_p", Sampling, Some(1.0)),
    ("min_p", Sampling, Some(0.0)),
    ("repetition_penalty", Always, Some(1.0)),
    ("no_repeat_ngram_size", Always, Some(0.0)),
    ("sequence_bias", Always, None),
    ("bad_words_ids", Always, None),
    ("suppress_tokens", Always, None),
    ("min_new_tokens", Always, Some(0.0)),
    ("num_beams", Always, Some(1.0)),
    ("length_penalty", Searching, Some(1.0)),
    ("early_stopping", Searching, None),
    ("num_return_sequences", Always, Some(1.0)),
    ("max_time", Always, None),
    ("stop_strings", Always, None),
];

/// What transformers would act upon and this crate does not have.
const REFUSED: [(&str, Option<f64>); 23] = [
    ("top_h", None),
    ("typical_p", Some(1.0)),
    ("epsilon_cutoff", Some(0.0)),
    ("eta_cutoff", Some(0.0)),
    ("encoder_repetition_penalty", Some(1.0)),
    ("encoder_no_repeat_ngram_size", Some(0.0)),
    ("diversity_penalty", Some(0.0)),
    ("num_beam_groups", Some(1.0)),
    ("penalty_alpha", Some(0.0)),
    ("constraints", None),
    ("force_words_ids", None),
    ("guidance_scale", Some(1.0)),
    ("forced_bos_token_id", None),
    ("forced_eos_token_id", None),
    ("remove_invalid_values", None),
    ("renormalize_logits", None),
    ("exponential_decay_length_penalty", None),
    ("begin_suppress_tokens", None),
    ("watermarking_config", None),
    ("token_healing", None),
    ("min_length", Some(0.0)),
    ("dola_layers", None),
    ("low_memory", None),
];

impl CheckpointDefaults {
    /// The content of a `generation_config.json`.
    pub fn new(keys: Map<String, Value>) -> Self {
        Self {
            keys,
            path: PathBuf::from("generation_config.json"),
        }
    }

    /// Reads `generation_config.json` of a folder; without the file there are no preferences.
    ///
    /// # Errors
    ///
    /// When the file is damaged.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let path = folder.as_ref().join("generation_config.json");
        let keys = match path.is_file() {
            true => object(&path)?,
            false => Map::new(),
        };
        Ok(Self { keys, path })
    }

    /// The keys that would change what plain greedy decoding gives, in order of their steps. Lengths and special
    /// tokens are not among them.
    pub fn acting(&self) -> Vec<&'static str> {
        let is_on = |key: &str| self.keys.get(key).and_then(Value::as_bool) == Some(true);
        let searches = self.number_is_not("num_beams", Some(1.0));
        let honoured = HONOURED.iter().filter(|(key, when, neutral)| {
            let happens = match when {
                Always => true,
                Sampling => is_on("do_sample"),
                Searching => searches,
            };
            happens && self.number_is_not(key, *neutral)
        });
        honoured
            .map(|(key, ..)| *key)
            .chain(self.refused())
            .collect()
    }

    fn refused(&self) -> impl Iterator<Item = &'static str> {
        let acts =
            |(_, neutral): (&'static str, Option<f64>), key| self.number_is_not(key, neutral);
        REFUSED
            .into_iter()
            .filter(move |entry| acts(*entry, entry.0))
            .map(|(key, _)| key)
    }

    // Whether a key is there, and neither empty nor the value that does nothing.
    fn number_is_not(&self, key: &str, neutral: Option<f64>) -> bool {
        match self.keys.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(values)) => !values.is_empty(),
            Some(Value::Object(values)) => !values.is_empty(),
            Some(value) => neutral.is_none() || value.as_f64() != neutral,
        }
    }

    /// Puts the checkpoint's preferences into a configuration whose end-of-sequence ids are known.
    ///
    /// # Errors
    ///
    /// When a key has a value that it cannot have, or asks for something that this crate does not do.
    pub fn apply(&self, mut config: GenerationConfig) -> Result<GenerationConfig, Error> {
        if let Some(key) = self.refused().next() {
            return Err(self.wrong(key, "nothing, which is all that is supported"));
        }
        let sampling = &mut config.sampling;
        if self.flag("do_sample")? {
            sampling.temperature = self.above_zero("temperature")?.unwrap_or(1.0);
            sampling.top_k = match self.count("top_k")? {
                None => Some(50),
                Some(k) => (k > 0).then_some(k),
            };
            let share = |key, default| match self.number(key)? {
                None => Ok(default),
                Some(share) if (0.0..=1.0).contains(&share) => Ok(share as f32),
                Some(_) => Err(self.wrong(key, "a number from 0 to 1")),
            };
            sampling.top_p = share("top_p", 1.0)?;
            sampling.min_p = share("min_p", 0.0)?;
        }
        sampling.repetition_penalty = self.above_zero("repetition_penalty")?.unwrap_or(1.0);
        sampling.no_repeat_ngram_size = self.count("no_repeat_ngram_size")?.filter(|n| *n > 0);
        sampling.sequence_bias = self.biases()?;
        let eos = &config.eos_token_ids;
        let mut further: Vec<Arc<dyn LogitsProcessor>> = Vec::new();
        if let Some(mut words) = self.lists("bad_words_ids")? {
            words.retain(|word| !matches!(word[..], [id] if eos.contains(&id)));
            further.push(Arc::new(SequenceBias::forbid(words)));
        }
        if let Some(tokens) = self.count("min_new_tokens")?.filter(|n| *n > 0) {
            let eos_token_ids = eos.clone();
            further.push(Arc::new(MinNewTokens {
                tokens,
                eos_token_ids,
            }));
        }
        if let Some(value) = self.get("suppress_tokens") {
            let found = ids(value).ok_or_else(|| self.wrong("suppress_tokens", "token ids"))?;
            let tokens = found.into_iter().map(|id| vec![id]);
            further.push(Arc::new(SequenceBias::forbid(tokens)));
        }
        // As in the reference, the caller's own come after the checkpoint's.
        further.append(&mut sampling.further);
        sampling.further = further;
        config.beams = BeamConfig {
            num_beams: self.count("num_beams")?.unwrap_or(1),
            length_penalty: self.number("length_penalty")?.unwrap_or(1.0),
            early_stopping: match self.get("early_stopping") {
                None | Some(Value::Bool(false)) => EarlyStopping::Heuristic,
                Some(Value::Bool(true)) => EarlyStopping::AtOnce,
                Some(Value::String(word)) if word == "never" => EarlyStopping::Never,
                Some(_) => return Err(self.wrong("early_stopping", "true, false or \"never\"")),
            },
        };
        config.num_return_sequences = self.count("num_return_sequences")?.unwrap_or(1);
        if let Some(seconds) = self.number("max_time")? {
            let time = Duration::try_from_secs_f64(seconds);
            config.max_time = Some(time.map_err(|_| self.wrong("max_time", "seconds"))?);
        }
        config.stop_strings.extend(self.texts("stop_strings")?);
        Ok(config)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.keys.get(key).unwrap_or(&Value::Null);
        Error::file(
            &self.path,
            format!("key `{key}`: expected {expected}, found {found}"),
        )
    }

    fn flag(&self, key: &str) -> Result<bool, Error> {
        let read = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| self.wrong(key, "true or false"))
        };
        self.get(key).map_or(Ok(false), read)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        let read = |value: &Value| value.as_f64().ok_or_else(|| self.wrong(key, "a number"));
        self.get(key).map(read).transpose()
    }

    fn above_zero(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.number(key)? {
            Some(number) if number <= 0.0 => Err(self.wrong(key, "a number above 0")),
            number => Ok(number.map(|number| number as f32)),
        }
    }

    fn count(&self, key: &str) -> Result<Option<usize>, Error> {
        let read = |value: &Value| {
            let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
            count.ok_or_else(|| self.wrong(key, "a count"))
        };
        self.get(key).map(read).transpose()
    }

    fn lists(&self, key: &str) -> Result<Option<Vec<Vec<u32>>>, Error> {
        let read = |value: &Value| -> Option<Vec<Vec<u32>>> {
            let lists = value.as_array()?.iter();
            lists
                .map(|list| ids(list).filter(|_| list.is_array()))
                .collect()
        };
        let expected = "lists of token ids";
        let found = self
            .get(key)
            .map(|value| read(value).ok_or_else(|| self.wrong(key, expected)));
        found.transpose()
    }

    fn biases(&self) -> Result<Vec<(Vec<u32>, f32)>, Error> {
        let pair = |pair: &Value| match &pair.as_array()?[..] {
            [tokens @ Value::Array(_), bias] => Some((ids(tokens)?, bias.as_f64()? as f32)),
            _ => None,
        };
        let read = |value: &Value| -> Option<Vec<(Vec<u32>, f32)>> {
            value.as_array()?.iter().map(pair).collect()
        };
        let expected = "a list of pairs of token ids and a number";
        match self.get("sequence_bias") {
            None => Ok(Vec::new()),
            Some(value) => read(value).ok_or_else(|| self.wrong("sequence_bias", expected)),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, Error> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let found = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(text).collect(),
            Some(value) => text(value).map(|text| vec![text]),
        };
        found.ok_or_else(|| self.wrong(key, "a text or a list of texts"))
    }
}
