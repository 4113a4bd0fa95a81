use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Error;

/// Keys that transformers writes into any `config.json` and that do not change what a model computes.
const WITHOUT_EFFECT: &[&str] = &[
    "_attn_implementation_autoset",
    "_attn_implementation",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "ignore_index",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// The largest size that is believed: a product of two still fits 64 bits.
const LARGEST: usize = 1 << 24;

/// Reads a JSON object key by key, so that each key is honoured or refused by name.
///
/// ```
/// use vlm_core::ConfigReader;
/// let json = serde_json::json!({ "hidden_size": 64, "use_cache": true, "hiden_act": "gelu" });
/// let mut reader = ConfigReader::new(json).unwrap();
/// assert_eq!(reader.or("hidden_size", 4096_usize).unwrap(), 64);
/// assert_eq!(reader.or("intermediate_size", 11008_usize).unwrap(), 11008);
/// let error = reader.finish().unwrap_err().to_string();
/// assert_eq!(error, "key `hiden_act`: not a key of this kind of model");
/// ```
#[derive(Clone, Debug)]
pub struct ConfigReader {
    path: String,
    keys: Map<String, Value>,
}

impl ConfigReader {
    /// A reader of a JSON object.
    ///
    /// # Errors
    ///
    /// When `value` is no object.
    pub fn new(value: Value) -> Result<Self, Error> {
        Self::at(String::new(), value)
    }

    fn at(path: String, value: Value) -> Result<Self, Error> {
        match value {
            Value::Object(keys) => Ok(Self { path, keys }),
            other => Err(Error::key(
                path,
                format!("expected an object, found {other}"),
            )),
        }
    }

    /// The full name of a key.
    fn name(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// Takes a key; absent and `null` are `None`.
    ///
    /// # Errors
    ///
    /// When the value is not what `T` reads.
    pub fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, Error> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(&value)
                .map(Some)
                .map_err(|error| Error::key(self.name(key), format!("{error} (found {value})"))),
        }
    }

    /// Takes a key, or a default where it is absent.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn or<T: DeserializeOwned>(&mut self, key: &str, default: T) -> Result<T, Error> {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// Takes a size, or a default where it is absent.
    ///
    /// # Errors
    ///
    /// When the value is not a whole number above zero, or larger than any model's.
    pub fn size(&mut self, key: &str, default: usize) -> Result<usize, Error> {
        self.size_up_to(LARGEST, key, default)
    }

    /// As [`size`](Self::size), with a limit of its own.
    ///
    /// # Errors
    ///
    /// When the value is not a whole number from 1 to `largest`.
    pub fn size_up_to(
        &mut self,
        largest: usize,
        key: &str,
        default: usize,
    ) -> Result<usize, Error> {
        let size = self.or(key, default)?;
        if size == 0 || size > largest {
            let message = format!("expected a whole number from 1 to {largest}, found {size}");
            return Err(self.error(key, message));
        }
        Ok(size)
    }

    /// Takes a key of which only one value can be served.
    ///
    /// # Errors
    ///
    /// When it has another.
    pub fn only<T>(&mut self, key: &str, value: T) -> Result<(), Error>
    where
        T: DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        match self.get::<T>(key)? {
            Some(found) if found != value => {
                let message = format!("only {value:?} is supported, found {found:?}");
                Err(self.error(key, message))
            }
            _ => Ok(()),
        }
    }

    /// Takes an object; absent and `null` are `None`.
    ///
    /// # Errors
    ///
    /// When the value is no object.
    pub fn object(&mut self, key: &str) -> Result<Option<Self>, Error> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Self::at(self.name(key), value).map(Some),
        }
    }

    /// Takes keys that have no effect here.
    pub fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.keys.remove(*key);
        }
    }

    /// Looks at a key without taking it.
    pub fn peek(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// Whether nothing is left to take.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key stands in the object, be it `null`.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Takes a key that must be absent or `null`.
    ///
    /// # Errors
    ///
    /// With `message`, when it is not.
    pub fn only_absent(&mut self, key: &str, message: &str) -> Result<(), Error> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(self.error(key, message)),
        }
    }

    /// An error about a key of this object.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Error {
        Error::key(self.name(key), message)
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// When a key is left that nothing took, unless it is one that transformers writes into any config
    /// without effect on the result.
    pub fn finish(self) -> Result<(), Error> {
        let left = self
            .keys
            .iter()
            .find(|(key, value)| !WITHOUT_EFFECT.contains(&key.as_str()) && !value.is_null());
        match left {
            Some((key, _)) => Err(self.error(key, "not a key of this kind of model")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_the_whole_path() {
        let mut reader =
            ConfigReader::new(json!({ "text_config": { "hidden_size": "big" } })).unwrap();
        let mut text = reader.object("text_config").unwrap().unwrap();
        let error = text.size("hidden_size", 1).unwrap_err().to_string();
        assert!(
            error.starts_with("key `text_config.hidden_size`: invalid type"),
            "{error}"
        );
    }

    #[test]
    fn a_value_that_cannot_be_served_is_refused() {
        let mut reader = ConfigReader::new(json!({ "pretraining_tp": 2 })).unwrap();
        let error = reader.only("pretraining_tp", 1).unwrap_err().to_string();
        assert_eq!(error, "key `pretraining_tp`: only 1 is supported, found 2");
    }
}
