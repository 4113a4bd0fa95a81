mod class;
mod files;

use std::{collections::BTreeMap, ops::Range, path::Path, sync::OnceLock};

use serde_json::Value;
use tokenizers::{AddedToken, ModelWrapper};
use vlm_core::Error;

use crate::DecoderKind;
use class::Class;
use files::Files;

/// A `tokenizer.json` with the tokens that the files beside it add and name.
///
/// ```
/// use vlm_text::Tokenizer;
///
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama");
/// let tokenizer = Tokenizer::from_folder(folder)?;
/// assert_eq!(tokenizer.special_token("bos"), Some("<s>"));
/// let bos = tokenizer.token_id("<s>").unwrap();
/// let ids = tokenizer.encode("A red cup", true)?;
/// assert_eq!(ids[0], bos);
/// assert_eq!(tokenizer.decode(&ids), "A red cup");
/// // In a user's text, a control token is text.
/// assert!(!tokenizer.encode_continued("<s>", true)?.contains(&bos));
/// # Ok::<(), vlm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    // The same without added tokens, whichever are added later; made when it is first needed.
    plain: OnceLock<tokenizers::Tokenizer>,
    special_tokens: BTreeMap<String, String>,
    clean_up: bool,
}

/// A token, and the bytes of the text that it was made of: none for one that was added around the text.
pub type TokenPlace = (u32, Range<usize>);

/// Turns ids into text as they come, holding back what is not certain yet.
///
/// Half a UTF-8 character never leaves: text comes out when the bytes of its characters are complete.
///
/// ```
/// use vlm_text::Tokenizer;
///
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama");
/// let tokenizer = Tokenizer::from_folder(folder)?;
/// let mut stream = tokenizer.stream();
/// let pieces = tokenizer.encode("An 🙂", false)?.into_iter().map(|id| stream.push(id));
/// let pieces: Vec<String> = pieces.collect();
/// assert!(pieces.iter().any(String::is_empty)); // a part of the emoji's bytes
/// assert_eq!(pieces.concat() + &stream.finish(), "An 🙂");
/// # Ok::<(), vlm_core::Error>(())
/// ```
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    // Text of `ids[..read]` is out; what comes is decoded together with `ids[prefix..read]`, because a
    // token's text depends on its neighbour (the space before a word).
    prefix: usize,
    read: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json` as it stands, and from the files beside it the tokens that they add and name.
    ///
    /// # Errors
    ///
    /// When `tokenizer.json` is missing or a file is damaged.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::read(folder.as_ref(), |_, _| Ok(Class::AsItStands))
    }

    /// As [`from_folder`](Self::from_folder) for a language model alone, whose tokenizer transformers may build
    /// anew: always for Qwen2; for Llama where `tokenizer_class` is `LlamaTokenizer`, `GPT2Tokenizer` or
    /// `Qwen2Tokenizer`.
    ///
    /// # Errors
    ///
    /// As [`from_folder`](Self::from_folder), or when the class is another.
    pub fn of_decoder(folder: impl AsRef<Path>, kind: DecoderKind) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let path = folder.join("config.json");
        let config = match path.is_file() {
            true => std::fs::read_to_string(&path).map_err(Error::io(&path))?,
            false => "{}".to_owned(),
        };
        let config: Value = serde_json::from_str(&config).map_err(Error::json(&path))?;
        let in_config = config["tokenizer_class"].as_str();
        Self::read(folder, |files, json| {
            // As the reference looks for it: anywhere in the file.
            let byte_level = json.contains("\"ByteLevel\"");
            Class::of(kind, files, in_config, byte_level)
        })
    }

    fn read(
        folder: &Path,
        class: impl FnOnce(&Files, &str) -> Result<Class, Error>,
    ) -> Result<Self, Error> {
        let path = folder.join("tokenizer.json");
        let json = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let parse = |json: &str| {
            tokenizers::Tokenizer::from_bytes(json)
                .map_err(|error| Error::file(&path, format!("not a tokenizer: {error}")))
        };
        let mut inner = parse(&json)?;
        let known = inner.get_added_tokens_decoder().into_iter().collect();
        let mut files = Files::read(folder, known)?;
        let class = class(&files, &json)?;
        class.name_defaults(&mut files);
        if class != Class::AsItStands {
            let file = serde_json::from_str(&json).map_err(Error::json(&path))?;
            inner = parse(&class.rebuild(file, &files)?.to_string())?;
        }
        let named = files.named()?;
        let mut added = files.added(&inner)?;
        if class == Class::Qwen2 {
            // Once more and plainly, as its class does.
            let plain = |(_, token): &(String, AddedToken)| AddedToken::from(&*token.content, true);
            added.extend(named.iter().map(plain));
        }
        inner
            .add_tokens(added)
            .map_err(|error| Error::file(&path, format!("tokens cannot be added: {error}")))?;
        inner.set_encode_special_tokens(files.flag("split_special_tokens")?.unwrap_or(false));
        let mut tokenizer = Self::new(inner);
        let name = |(name, token): (String, AddedToken)| (name, token.content);
        tokenizer.special_tokens = named.into_iter().map(name).collect();
        let clean_up = files.flag("clean_up_tokenization_spaces")?.unwrap_or(false);
        // The reference does not clean up after BPE, unless it is told that it harms.
        let harmful = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
        let bpe = matches!(tokenizer.inner.get_model(), ModelWrapper::BPE(_));
        tokenizer.clean_up = clean_up && (!bpe || files.flag(harmful)?.unwrap_or(false));
        Ok(tokenizer)
    }

    /// A tokenizer without named special tokens.
    pub fn new(mut inner: tokenizers::Tokenizer) -> Self {
        // Settings of a training run that were saved along; the reference resets them at every call, too.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .expect("no truncation is always valid");
        Self {
            inner,
            plain: OnceLock::new(),
            special_tokens: BTreeMap::new(),
            clean_up: false,
        }
    }

    /// Adds tokens to the vocabulary; those that it has keep their ids.
    ///
    /// # Errors
    ///
    /// When the library refuses one.
    pub fn add_tokens(
        &mut self,
        tokens: impl IntoIterator<Item = AddedToken>,
    ) -> Result<(), Error> {
        let added = self.inner.add_tokens(tokens);
        added.map(drop).map_err(|error| {
            Error::Request(format!("the tokenizer takes no further tokens: {error}"))
        })
    }

    /// The token that the folder's files have as `{name}_token`: `bos`, `eos`, `pad`, `image` …
    pub fn special_token(&self, name: &str) -> Option<&str> {
        let name = format!("{name}_token");
        self.special_tokens.get(&name).map(String::as_str)
    }

    /// All special tokens with a name: `bos_token`, `eos_token`, …
    pub fn special_tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        self.special_tokens
            .iter()
            .map(|(name, token)| (name.as_str(), token.as_str()))
    }

    /// Whether a text begins with the beginning-of-sequence token already.
    pub fn begins_with_bos(&self, text: &str) -> bool {
        let bos = self.special_token("bos");
        bos.is_some_and(|bos| text.starts_with(bos))
    }

    /// The id of a token of the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The library's tokenizer.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// Turns a text into ids, special tokens in it included.
    ///
    /// `add_special_tokens` adds what `tokenizer.json` puts around a text, usually a beginning of sequence.
    ///
    /// # Errors
    ///
    /// When the vocabulary has no way to write the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, Error> {
        let encoding = self.inner.encode_fast(text, add_special_tokens);
        Ok(encoding.map_err(not_tokenised)?.get_ids().to_vec())
    }

    /// As [`encode`](Self::encode), with the place of each token in the text.
    ///
    /// ```
    /// use vlm_text::Tokenizer;
    ///
    /// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama");
    /// let tokenizer = Tokenizer::from_folder(folder)?;
    /// let text = "naïve";
    /// let places = tokenizer.encode_places(text, false)?;
    /// assert_eq!(places.last().unwrap().1.end, text.len());
    /// # Ok::<(), vlm_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_places(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<TokenPlace>, Error> {
        places(&self.inner, text, add_special_tokens)
    }

    /// Turns a text that continues another into ids.
    ///
    /// `literal` text writes no token that was added to the vocabulary: `<image>` in it is a word like any
    /// other. The way is the reference's `encode_marked_chat`: encode after a line break and drop its tokens,
    /// so that a tokenizer which puts a space before every text does not do so here.
    ///
    /// # Errors
    ///
    /// When the vocabulary has no way to write the text, or writes an added token from its letters.
    pub fn encode_continued(&self, text: &str, literal: bool) -> Result<Vec<u32>, Error> {
        let places = self.encode_places_continued(text, literal)?;
        Ok(places.into_iter().map(|(id, _)| id).collect())
    }

    /// As [`encode_continued`](Self::encode_continued), with the place of each token in the text.
    ///
    /// # Errors
    ///
    /// As [`encode_continued`](Self::encode_continued).
    pub fn encode_places_continued(
        &self,
        text: &str,
        literal: bool,
    ) -> Result<Vec<TokenPlace>, Error> {
        const BEFORE: &str = "\n";
        let inner = match literal {
            false => &self.inner,
            true => self.without_added_tokens()?,
        };
        let line_break = self.encode(BEFORE, false)?;
        let continued = places(inner, &format!("{BEFORE}{text}"), false)?;
        let begins = continued.len() >= line_break.len()
            && continued
                .iter()
                .zip(&line_break)
                .all(|((id, _), before)| id == before);
        let places = match begins {
            true => {
                let back = |at: usize| at.saturating_sub(BEFORE.len());
                let rest = continued.into_iter().skip(line_break.len());
                rest.map(|(id, bytes)| (id, back(bytes.start)..back(bytes.end)))
                    .collect()
            }
            false => places(inner, text, false)?,
        };
        match self.token_id(text) {
            Some(id) if literal && places.iter().any(|(found, _)| *found == id) => {
                Err(Error::Request(format!(
                    "`{text}` cannot be written as plain text: the tokenizer makes a token of its letters"
                )))
            }
            _ => Ok(places),
        }
    }

    fn without_added_tokens(&self) -> Result<&tokenizers::Tokenizer, Error> {
        if let Some(plain) = self.plain.get() {
            return Ok(plain);
        }
        let broken = |error: String| Error::Request(format!("tokenizer.json: {error}"));
        let text = self
            .inner
            .to_string(false)
            .map_err(|e| broken(e.to_string()))?;
        let mut json: Value = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        json["added_tokens"] = Value::Array(Vec::new());
        json["post_processor"] = Value::Null;
        let plain = tokenizers::Tokenizer::from_bytes(json.to_string())
            .map_err(|e| broken(e.to_string()))?;
        Ok(self.plain.get_or_init(|| plain))
    }

    /// Turns ids into a text without special tokens.
    pub fn decode(&self, ids: &[u32]) -> String {
        // The library fails on a broken decoder only, and those fail when they are read.
        let text = self.inner.decode(ids, true).unwrap_or_default();
        match self.clean_up {
            true => clean_up(&text),
            false => text,
        }
    }

    /// A stream that decodes ids one by one.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream {
            tokenizer: self,
            ids: Vec::new(),
            prefix: 0,
            read: 0,
        }
    }
}

impl TextStream<'_> {
    /// Adds a token and returns the text that became certain by it, possibly none.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.new_text();
        // A decoder writes U+FFFD for bytes that may still become a character.
        if text.is_empty() || text.ends_with('\u{fffd}') {
            return String::new();
        }
        (self.prefix, self.read) = (self.read, self.ids.len());
        text
    }

    /// Ends the stream and returns what was held back.
    pub fn finish(self) -> String {
        self.new_text()
    }

    fn new_text(&self) -> String {
        let before = self.tokenizer.decode(&self.ids[self.prefix..self.read]);
        let text = self.tokenizer.decode(&self.ids[self.prefix..]);
        match text.strip_prefix(&before) {
            Some(new) => new.to_owned(),
            // A broken byte undid the characters before it, as byte fallback does; those are out already.
            None => text.chars().skip(before.chars().count()).collect(),
        }
    }
}

fn places(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    add_special_tokens: bool,
) -> Result<Vec<TokenPlace>, Error> {
    let encoding = tokenizer.encode(text, add_special_tokens);
    let encoding = encoding.map_err(not_tokenised)?;
    let bytes = encoding
        .get_offsets()
        .iter()
        .map(|(start, end)| *start..*end);
    Ok(encoding.get_ids().iter().copied().zip(bytes).collect())
}

fn not_tokenised(error: impl std::fmt::Display) -> Error {
    Error::Request(format!("the text cannot be tokenised: {error}"))
}

/// The spaces that `clean_up_tokenization_spaces` removes (transformers' `clean_up_tokenization`).
fn clean_up(text: &str) -> String {
    const SPACED: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    SPACED
        .iter()
        .fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}
