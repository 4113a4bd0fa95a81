//! Special tokens by name.

use serde_json::{Map, Value};

/// The names every tokenizer has.
const STANDARD: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Special tokens that a template sees as variables: `bos_token`, `eos_token`, …, and those of
/// the model, such as `image_token`.
///
/// ```
/// use vlm_chat_template::SpecialTokens;
///
/// let tokens = SpecialTokens::new().with("bos_token", "<s>").with("image_token", "<image>");
/// assert_eq!(tokens.get("bos_token"), Some("<s>"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens(Vec<(String, String)>);

impl SpecialTokens {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token, or replaces the one of the same name.
    pub fn with(mut self, name: impl Into<String>, token: impl Into<String>) -> Self {
        let (name, token) = (name.into(), token.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = token,
            None => self.0.push((name, token)),
        }
        self
    }

    /// The token of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(known, token)| (known == name).then_some(token))
    }

    /// Names and tokens.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, token)| (name.as_str(), token.as_str()))
    }

    /// Reads them from the content of a `tokenizer_config.json`: the standard names, any other
    /// `*_token` with a token, and `extra_special_tokens` when it has names. A list of additional
    /// tokens has no names and gives no variables, as in the reference.
    ///
    /// ```
    /// # use vlm_chat_template::SpecialTokens;
    /// let config = serde_json::json!({
    ///     "add_bos_token": true,
    ///     "bos_token": {"__type": "AddedToken", "content": "<s>"},
    ///     "pad_token": null,
    ///     "extra_special_tokens": {"image_token": "<image>"},
    ///     "additional_special_tokens": ["<a>"],
    /// });
    /// let tokens = SpecialTokens::from_tokenizer_config(config.as_object().unwrap()).unwrap();
    /// assert_eq!(tokens, SpecialTokens::new().with("bos_token", "<s>").with("image_token", "<image>"));
    /// ```
    ///
    /// # Errors
    ///
    /// The key whose value is not a token, and the value.
    pub fn from_tokenizer_config(config: &Map<String, Value>) -> Result<Self, (String, Value)> {
        let mut tokens = SpecialTokens::new();
        for name in STANDARD {
            if let Some(value) = config.get(name).filter(|value| !value.is_null()) {
                let token = content(value).ok_or_else(|| (name.to_owned(), value.clone()))?;
                tokens = tokens.with(name, token);
            }
        }
        for (name, value) in config {
            if let Some(token) = content(value).filter(|_| name.ends_with("_token")) {
                tokens = tokens.with(name, token);
            }
        }
        for key in ["extra_special_tokens", "model_specific_special_tokens"] {
            for (name, value) in config
                .get(key)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                let token =
                    content(value).ok_or_else(|| (format!("{key}.{name}"), value.clone()))?;
                tokens = tokens.with(name, token);
            }
        }
        Ok(tokens)
    }
}

/// The text of a token: a string, or an `AddedToken` object.
pub(crate) fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}
