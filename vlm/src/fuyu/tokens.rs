use vlm_core::{Error, ImageLayout, ImageTokens, Slot};
use vlm_text::Tokenizer;

use super::places::{self, Scale};

const PATCH: &str = "|SPEAKER|";
const ROW_END: &str = "|NEWLINE|";
const TEXT: &str = "<s>";
/// Stands where the answer begins.
const ANSWER: &str = "<0x04>";

/// A picture is its rows of patches, each row with `|NEWLINE|` at its end.
///
/// Source: transformers' `processing_fuyu.py`.
#[derive(Clone, Debug)]
pub struct FuyuTokens {
    patch: u32,
    row_end: u32,
    patch_size: usize,
}

impl FuyuTokens {
    /// The layout of pictures in patches of `patch_size`.
    ///
    /// # Errors
    ///
    /// When the tokenizer has no `|SPEAKER|` or no `|NEWLINE|`.
    pub fn new(tokenizer: &Tokenizer, patch_size: usize) -> Result<Self, Error> {
        Ok(Self {
            patch: id(tokenizer, PATCH)?,
            row_end: id(tokenizer, ROW_END)?,
            patch_size,
        })
    }
}

impl ImageTokens for FuyuTokens {
    fn image_token_id(&self) -> u32 {
        self.patch
    }

    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error> {
        let rows = layout.crop.height / self.patch_size;
        let columns = layout.crop.width / self.patch_size;
        let mut slots = Vec::with_capacity(rows * (columns + 1));
        for row in 0..rows {
            let patches = row * columns..(row + 1) * columns;
            slots.extend(patches.map(|patch| Slot::visual(self.patch, 0, patch)));
            slots.push(Slot::text(self.row_end));
        }
        Ok(slots)
    }
}

/// Refuses a configuration whose patches are another token than the tokenizer's.
pub(super) fn check_image_token(tokenizer: &Tokenizer, image_token_id: u32) -> Result<(), Error> {
    match id(tokenizer, PATCH)? {
        patch if patch == image_token_id => Ok(()),
        patch => {
            let message =
                format!("expected {patch}, the tokenizer's `{PATCH}`, found {image_token_id}");
            Err(Error::key("image_token_id", message))
        }
    }
}

/// The ids of a prompt with a picture, for which `|SPEAKER|` stands.
///
/// The picture and `<s>` stand in front of the text, and the beginning of the answer behind it. A prompt need not
/// say so; one that does, with `|SPEAKER|`, `<s>` and `<0x04>` at these places, means the same.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str, scale: Scale) -> Result<Vec<u32>, Error> {
    let text = text.strip_prefix(PATCH).unwrap_or(text);
    let text = text.strip_prefix(TEXT).unwrap_or(text);
    let text = text.strip_suffix(ANSWER).unwrap_or(text);
    let mut ids = vec![id(tokenizer, PATCH)?, id(tokenizer, TEXT)?];
    ids.extend(places::encode(tokenizer, text, ANSWER, scale)?);
    Ok(ids)
}

/// The id of a token that the family needs.
pub(super) fn id(tokenizer: &Tokenizer, token: &str) -> Result<u32, Error> {
    let missing = || Error::Request(format!("the tokenizer has no token `{token}`"));
    tokenizer.token_id(token).ok_or_else(missing)
}
