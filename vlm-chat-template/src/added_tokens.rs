//! Tokens outside of a tokenizer's vocabulary, and which of them control a model.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    ControlTokens, Error, SpecialTokens,
    files::{JsonFile, read_text},
    special_tokens::content,
};

/// What a tokenizer's files say of the tokens outside of its vocabulary.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddedTokens {
    /// Token, and whether it is special.
    added: Vec<(String, bool)>,
    /// `chat_control_tokens`, where a tokenizer lists them.
    listed: Option<Vec<String>>,
}

/// The part of a `tokenizer.json` that matters here; the vocabulary, which is large, is skipped.
#[derive(Deserialize)]
struct Tokenizer {
    #[serde(default)]
    added_tokens: Vec<Value>,
}

impl AddedTokens {
    /// Reads `tokenizer.json` and what `tokenizer_config.json` adds.
    pub(crate) fn read(
        folder: &Path,
        config: Option<&JsonFile>,
        special: &SpecialTokens,
    ) -> Result<Self, Error> {
        let mut tokens = AddedTokens::default();
        let path = folder.join("tokenizer.json");
        if let Some(text) = read_text(&path)? {
            let tokenizer: Tokenizer =
                serde_json::from_str(&text).map_err(|source| Error::Json { path, source })?;
            tokenizer
                .added_tokens
                .iter()
                .for_each(|token| tokens.add(token));
        }
        if let Some(config) = config {
            if let Some(Value::Object(added)) = config.get("added_tokens_decoder") {
                added.values().for_each(|token| tokens.add(token));
            }
            if let Some(listed) = config.get("chat_control_tokens") {
                let strings = listed.as_array().and_then(|list| {
                    list.iter()
                        .map(|token| token.as_str().map(str::to_owned))
                        .collect::<Option<_>>()
                });
                let expected = "a list of strings";
                tokens.listed =
                    Some(strings.ok_or_else(|| {
                        config.unexpected("chat_control_tokens", expected, listed)
                    })?);
            }
        }
        let config = config.map(|file| &file.map);
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            let list = config.and_then(|config| config.get(key)?.as_array());
            for token in list.into_iter().flatten().filter_map(content) {
                // One that the tokenizer knows already stays what it is; a named one does not.
                if !tokens.added.iter().any(|(known, _)| known == token) {
                    tokens.added.push((token.to_owned(), true));
                }
            }
        }
        tokens
            .added
            .extend(special.iter().map(|(_, token)| (token.to_owned(), true)));
        Ok(tokens)
    }

    fn add(&mut self, token: &Value) {
        if let Some(text) = content(token) {
            let special = token
                .get("special")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            self.added.push((text.to_owned(), special));
        }
    }

    /// The tokens that users may not write: the special ones, and those that are listed, or, where
    /// there is no list, that the template's text contains.
    pub(crate) fn control_tokens(&self, template_text: &str) -> Option<ControlTokens> {
        let control = |(token, special): &&(String, bool)| {
            *special
                || match &self.listed {
                    Some(listed) => listed.contains(token),
                    None => template_text.contains(token) && !token.trim().is_empty(),
                }
        };
        let tokens = ControlTokens::new(self.added.iter().filter(control).map(|(token, _)| token));
        (!tokens.is_empty()).then_some(tokens)
    }
}
