use vlm_core::{Error, ImageLayout, ImageTokens, Size, Slot};
use vlm_text::Tokenizer;

use super::{Idefics3Config, Idefics3Kind};

/// A picture is its tiles row by row and the overview, each after a text that says which it is:
///
/// ```text
/// <fake_token_around_image><row_1_col_1><image>…<fake_token_around_image><row_1_col_2><image>…\n
/// <fake_token_around_image><row_2_col_1><image>…<fake_token_around_image><row_2_col_2><image>…\n
/// \n<fake_token_around_image><global-img><image>…<fake_token_around_image>
/// ```
///
/// and without tiles the last line less its line break. The text is tokenised, because tokenizers differ in
/// which of it are tokens: SmolVLM's knows `<row_1_col_1>`, Idefics3's spells it.
#[derive(Clone, Debug)]
pub struct Idefics3Tokens {
    image_token_id: u32,
    patch_size: usize,
    scale_factor: usize,
    vocab_size: usize,
    tokenizer: Tokenizer,
    /// Before each crop and after the last.
    around: String,
    /// What one visual token is called.
    image: String,
    overview: String,
}

impl Idefics3Tokens {
    /// The layout of pictures for a model and its tokenizer.
    ///
    /// # Errors
    ///
    /// When the tokenizer lacks one of the tokens around and in a picture.
    pub fn new(config: &Idefics3Config, tokenizer: &Tokenizer) -> Result<Self, Error> {
        // SmolVLM's processor lets the tokenizer name its tokens.
        let named = |name: &str, usual: &str| match config.kind {
            Idefics3Kind::SmolVlm => tokenizer.special_token(name).unwrap_or(usual).to_owned(),
            Idefics3Kind::Idefics3 => usual.to_owned(),
        };
        let (id, around) = (config.image_token_id, named("fake_image", "<fake_token_around_image>"));
        let missing = |what: &str| Error::Request(format!("tokenizer.json has no {what}"));
        let image = tokenizer
            .token(id)
            .ok_or_else(|| missing(&format!("token of id {id}, the image_token_id of config.json")))?;
        if tokenizer.token_id(&around).is_none() {
            return Err(missing(&format!("token `{around}`")));
        }
        Ok(Self {
            image_token_id: id,
            patch_size: config.vision.patch_size,
            scale_factor: config.scale_factor,
            vocab_size: config.text.vocab_size,
            tokenizer: tokenizer.clone(),
            around,
            image,
            overview: named("global_image", "<global-img>"),
        })
    }

    /// Visual tokens of a crop.
    ///
    /// # Errors
    ///
    /// When its patches are no square of squares that become one token each.
    pub fn tokens_per_crop(&self, crop: Size) -> Result<usize, Error> {
        let (rows, columns) = (crop.height / self.patch_size, crop.width / self.patch_size);
        let scale = self.scale_factor;
        if rows == 0 || rows != columns || !rows.is_multiple_of(scale) {
            let name = format!("of {} × {} pixels", crop.height, crop.width);
            let message = format!(
                "{rows} × {columns} patches are no square of squares of scale_factor {scale}"
            );
            return Err(Error::Image { name, message });
        }
        Ok((rows / scale) * (rows / scale))
    }

    /// The text of a picture with one image token a crop.
    fn text(&self, layout: &ImageLayout) -> String {
        let Self { around, image, overview, .. } = self;
        let whole = format!("{around}{overview}{image}{around}");
        if layout.crops == 1 {
            return whole;
        }
        let tile = |row, column| format!("{around}<row_{row}_col_{column}>{image}");
        let row = |row| {
            let columns = 1..=layout.tiles.width;
            columns.map(move |column| tile(row, column)).chain(["\n".to_owned()])
        };
        let tiles: String = (1..=layout.tiles.height).flat_map(row).collect();
        format!("{tiles}\n{whole}")
    }
}

impl ImageTokens for Idefics3Tokens {
    fn image_token_id(&self) -> u32 {
        self.image_token_id
    }

    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error> {
        let tokens = self.tokens_per_crop(layout.crop)?;
        let mut slots = Vec::with_capacity(layout.crops * (tokens + 3));
        let mut crop = 0;
        for id in self.tokenizer.encode(&self.text(layout), false)? {
            if id == self.image_token_id {
                slots.extend((0..tokens).map(|token| Slot::visual(id, crop, token)));
                crop += 1;
                continue;
            }
            if id as usize >= self.vocab_size {
                let token = self.tokenizer.token(id).unwrap_or_default();
                return Err(Error::Request(format!(
                    "token `{token}` around a picture has id {id}, and the model's vocab_size is {}",
                    self.vocab_size
                )));
            }
            slots.push(Slot::text(id));
        }
        Ok(slots)
    }
}
