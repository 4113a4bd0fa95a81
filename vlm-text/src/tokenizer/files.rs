use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use tokenizers::AddedToken;
use vlm_core::Error;

/// The names that every tokenizer of transformers has.
const STANDARD: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
const EXTRA: &str = "extra_special_tokens";

/// What the files beside `tokenizer.json` say of its tokens, as transformers' `_from_pretrained` reads them.
///
/// Folders of today have all of it in `tokenizer_config.json`. Where that lacks `added_tokens_decoder`,
/// `special_tokens_map.json` and `added_tokens.json` count, too.
pub(super) struct Files {
    path: PathBuf,
    config: Map<String, Value>,
    /// Tokens by the index that a file gives them; the index orders them and no more.
    indexed: BTreeMap<u32, AddedToken>,
}

impl Files {
    /// Reads a folder whose `tokenizer.json` has the tokens `known`.
    pub fn read(folder: &Path, known: BTreeMap<u32, AddedToken>) -> Result<Self, Error> {
        let path = folder.join("tokenizer_config.json");
        let mut files = Self {
            config: object(&path)?.unwrap_or_default(),
            path,
            indexed: BTreeMap::new(),
        };
        move_additional(&mut files.config);
        match files.config.get("added_tokens_decoder") {
            Some(Value::Object(tokens)) => {
                let entry = |(index, value): (&String, &Value)| {
                    let token = value.is_object().then(|| added_token(value, false));
                    match (index.parse(), token.flatten()) {
                        (Ok(index), Some(token)) => Ok((index, token)),
                        _ => Err(files.error(
                            &format!("added_tokens_decoder.{index}"),
                            format!("expected an id and a token with `content`, found {value}"),
                        )),
                    }
                };
                files.indexed = tokens.iter().map(entry).collect::<Result<_, _>>()?;
            }
            Some(other) => {
                let message = format!("expected an object, found {other}");
                return Err(files.error("added_tokens_decoder", message));
            }
            None => files.read_older(folder, known)?,
        }
        Ok(files)
    }

    fn read_older(&mut self, folder: &Path, known: BTreeMap<u32, AddedToken>) -> Result<(), Error> {
        let map = object(&folder.join("special_tokens_map.json"))?.unwrap_or_default();
        for (key, mut value) in map {
            match (&mut value, self.config.get_mut(&key)) {
                (Value::Object(token), _) if key != EXTRA => {
                    token.insert("special".to_owned(), Value::Bool(true));
                }
                (Value::Array(tokens), Some(Value::Array(before))) if key == EXTRA => {
                    tokens.retain(|token| !before.contains(token));
                    before.append(tokens);
                    continue;
                }
                _ => {}
            }
            self.config.insert(key, value);
        }
        move_additional(&mut self.config);
        let path = folder.join("added_tokens.json");
        let named: Vec<AddedToken> = STANDARD
            .iter()
            .filter_map(|name| self.token(name))
            .collect();
        let special: Vec<AddedToken> = named.into_iter().chain(self.extra()?).collect();
        for (content, index) in object(&path)?.unwrap_or_default() {
            let Some(index) = index.as_u64().and_then(|index| u32::try_from(index).ok()) else {
                let message = format!("key `{content}`: expected an id, found {index}");
                return Err(Error::file(&path, message));
            };
            let special = special.iter().any(|token| token.content == content);
            self.indexed
                .insert(index, AddedToken::from(content, special));
        }
        self.indexed.extend(known);
        Ok(())
    }

    /// Names a token where no file does; `null` in a file names none.
    pub fn default(&mut self, name: &str, token: &str) {
        self.config
            .entry(name)
            .or_insert_with(|| Value::String(token.to_owned()));
    }

    /// The special tokens with a name, in the reference's order: `bos_token`, …, `image_token`, ….
    pub fn named(&self) -> Result<Vec<(String, AddedToken)>, Error> {
        let mut named = Vec::new();
        for name in STANDARD {
            match self.config.get(name) {
                None | Some(Value::Null) => {}
                Some(value) => {
                    let token = self.token(name).ok_or_else(|| {
                        self.error(name, format!("expected a token, found {value}"))
                    })?;
                    // The indexed token of the same text has the flags that count.
                    let same = |other: &&AddedToken| other.content == token.content;
                    let token = self.indexed.values().find(same).cloned().unwrap_or(token);
                    named.push((name.to_owned(), token));
                }
            }
        }
        let other = self
            .config
            .keys()
            .filter(|key| key.ends_with("_token") && !STANDARD.contains(&key.as_str()));
        named.extend(other.filter_map(|key| Some((key.clone(), self.token(key)?))));
        for key in [EXTRA, "model_specific_special_tokens"] {
            for (name, value) in self
                .config
                .get(key)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                let token = added_token(value, true).ok_or_else(|| {
                    self.error(
                        &format!("{key}.{name}"),
                        format!("expected a token, found {value}"),
                    )
                })?;
                named.retain(|(other, _)| other != name);
                named.push((name.clone(), token));
            }
        }
        for (_, token) in &mut named {
            token.special = true;
        }
        Ok(named)
    }

    /// The tokens that are to be added to those of the vocabulary, in order.
    pub fn added(&self, tokenizer: &tokenizers::Tokenizer) -> Result<Vec<AddedToken>, Error> {
        let named = self.named()?;
        let mut added: Vec<AddedToken> = self.indexed.values().cloned().collect();
        for token in &mut added {
            token.special |= named
                .iter()
                .any(|(_, other)| other.content == token.content);
        }
        let known = tokenizer.get_added_tokens_decoder();
        let named = named.into_iter().map(|(_, token)| token);
        for token in named.chain(self.extra()?) {
            let same = |other: &AddedToken| other.content == token.content;
            if !known.values().any(same) && !added.iter().any(same) {
                added.push(token);
            }
        }
        Ok(added)
    }

    /// A setting that is on or off; off when absent.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.error(key, format!("expected true or false, found {other}"))),
        }
    }

    /// The text of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.config.get(key)?.as_str()
    }

    /// An error about a key of `tokenizer_config.json`.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Error {
        Error::key(key, message).in_file(&self.path)
    }

    fn token(&self, name: &str) -> Option<AddedToken> {
        added_token(self.config.get(name)?, true)
    }

    /// Special tokens without a name.
    fn extra(&self) -> Result<Vec<AddedToken>, Error> {
        let list = self.config.get(EXTRA).and_then(Value::as_array);
        let token = |value: &Value| {
            added_token(value, true)
                .ok_or_else(|| self.error(EXTRA, format!("expected tokens, found {value}")))
        };
        list.into_iter().flatten().map(token).collect()
    }
}

/// `additional_special_tokens` is the older name of `extra_special_tokens`.
fn move_additional(config: &mut Map<String, Value>) {
    let given = |value: &Value| match value {
        Value::Array(tokens) => !tokens.is_empty(),
        Value::Object(tokens) => !tokens.is_empty(),
        _ => false,
    };
    if let Some(tokens) = config.remove("additional_special_tokens")
        && !config.get(EXTRA).is_some_and(given)
    {
        config.insert(EXTRA.to_owned(), tokens);
    }
}

/// `"<s>"`, or `{"content": "<s>", "lstrip": false, ..}`; `special` where the object does not say.
fn added_token(value: &Value, special: bool) -> Option<AddedToken> {
    if let Some(content) = value.as_str() {
        return Some(AddedToken::from(content, special));
    }
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let content = value.get("content")?.as_str()?;
    let token = AddedToken::from(content, flag("special").unwrap_or(special));
    let normalized = flag("normalized").unwrap_or(token.normalized);
    let token = token
        .normalized(normalized)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(token)
}

/// A JSON file with an object; `None` when there is none.
fn object(path: &Path) -> Result<Option<Map<String, Value>>, Error> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(Error::json(path))
}
