use std::path::Path;

use vlm_core::{ConfigReader, Error, ImageLayout, ImageTokens, Size, Slot};
use vlm_text::{AddedToken, Tokenizer};

/// The tags that transformers' `Kosmos2Processor` gives every tokenizer, in its order.
const TAGS: [&str; 11] = [
    "</doc>",
    IMAGE,
    IMAGE_END,
    "</chunk>",
    "</line>",
    "<phrase>",
    "</phrase>",
    "<object>",
    "</object>",
    "</delimiter_of_multi_objects/>",
    "<grounding>",
];
const IMAGE: &str = "<image>";
const IMAGE_END: &str = "</image>";
/// The most patches that a grid is believed to have.
const MAX_PATCHES: usize = 1 << 20;

/// A picture is `<image>`, its latents, `</image>`, in front of the text.
///
/// The latents go by the ids of the first tokens after the unknown one, as the reference's processor has it.
#[derive(Clone, Debug)]
pub struct Kosmos2Tokens {
    image: u32,
    image_end: u32,
    first_latent: u32,
    latents: usize,
    side: usize,
}

impl Kosmos2Tokens {
    /// The layout of pictures of `side` × `side` pixels that become `latents` tokens each.
    ///
    /// # Errors
    ///
    /// When the tokenizer has no `<image>`, no `</image>` or no unknown token.
    pub fn new(tokenizer: &Tokenizer, latents: usize, side: usize) -> Result<Self, Error> {
        let id = |token: &str| {
            let missing = || Error::Request(format!("the tokenizer has no token `{token}`"));
            tokenizer.token_id(token).ok_or_else(missing)
        };
        let unknown = tokenizer.special_token("unk").ok_or_else(|| {
            Error::Request("tokenizer_config.json has no key `unk_token`".to_owned())
        })?;
        Ok(Self {
            image: id(IMAGE)?,
            image_end: id(IMAGE_END)?,
            first_latent: id(unknown)? + 1,
            latents,
            side,
        })
    }
}

impl ImageTokens for Kosmos2Tokens {
    fn image_token_id(&self) -> u32 {
        self.image
    }

    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error> {
        // As the reference, which interpolates positions only when asked to.
        if layout.crop != Size::new(self.side, self.side) {
            let Size { height, width } = layout.crop;
            let message = format!(
                "the image processor makes it {height} × {width}, the tower takes {0} × {0}",
                self.side
            );
            let Size { height, width } = layout.original;
            let name = format!("of {height} × {width} pixels");
            return Err(Error::Image { name, message });
        }
        let latents =
            (0..self.latents).map(|token| Slot::visual(self.first_latent + token as u32, 0, token));
        let begin = std::iter::once(Slot::text(self.image));
        Ok(begin
            .chain(latents)
            .chain([Slot::text(self.image_end)])
            .collect())
    }
}

/// Adds the tags and the patches of the grid, as many as `processor_config.json` says, where they are not
/// there yet.
pub(super) fn add_tokens(tokenizer: &mut Tokenizer, folder: &Path) -> Result<(), Error> {
    let patches = patch_index_tokens(folder)?;
    let patches = (0..patches).map(patch_index);
    let tokens = TAGS.map(str::to_owned).into_iter().chain(patches);
    tokenizer.add_tokens(tokens.map(|token| {
        AddedToken::from(token, false)
            .normalized(false)
            .lstrip(true)
    }))
}

fn patch_index(index: usize) -> String {
    format!("<patch_index_{index:04}>")
}

/// The grid that a tokenizer has patches for.
pub(super) fn patches_per_side(tokenizer: &Tokenizer) -> u32 {
    let known = |index: &usize| tokenizer.token_id(&patch_index(*index)).is_some();
    let patches = (0..MAX_PATCHES).take_while(known).count();
    patches.isqrt().max(1) as u32
}

fn patch_index_tokens(folder: &Path) -> Result<usize, Error> {
    const DEFAULT: usize = 1024;
    let path = folder.join("processor_config.json");
    if !path.is_file() {
        return Ok(DEFAULT);
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let value = serde_json::from_str(&text).map_err(Error::json(&path))?;
    ConfigReader::new(value)
        .and_then(|mut keys| keys.size_up_to(MAX_PATCHES, "num_patch_index_tokens", DEFAULT))
        .map_err(|error| error.in_file(&path))
}

/// The ids of a prompt, `<image>` standing for its picture.
///
/// The picture stands in front of the text, and a prompt need not say so; one that begins with `<image>`
/// means the same.
///
/// # Errors
///
/// When there are several pictures: the reference's processor takes one for each text.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str, images: usize) -> Result<Vec<u32>, Error> {
    if images > 1 {
        let message = format!("a Kosmos-2 reads one image with a prompt, found {images}");
        return Err(Error::Request(message));
    }
    let bos = tokenizer.special_token("bos").unwrap_or_default();
    let text = text.trim_matches(is_space);
    let text = text.strip_prefix(bos).unwrap_or(text);
    let text = text.trim_start_matches(is_space);
    if images == 0 {
        return tokenizer.encode(&format!("{bos}{text}"), false);
    }
    let text = text.strip_prefix(IMAGE).unwrap_or(text);
    let text = text.trim_start_matches(is_space);
    let text = text.strip_prefix(IMAGE_END).unwrap_or(text);
    let text = text.trim_start_matches(is_space);
    let mut ids = tokenizer.encode(&format!("{bos}{IMAGE} {IMAGE_END} {text}"), false)?;
    // `<image>` alone stands for the picture with both its marks.
    if let Some(end) = tokenizer.token_id(IMAGE_END)
        && let Some(place) = ids.iter().position(|id| *id == end)
    {
        ids.remove(place);
    }
    Ok(ids)
}

/// Python's `str.isspace`.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
