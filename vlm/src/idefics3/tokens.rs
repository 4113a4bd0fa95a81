use vlm_core::{Error, ImageLayout, ImageTokens, Slot};
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
    config: Idefics3Config,
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
        let (id, around) = (
            config.image_token_id,
            named("fake_image", "<fake_token_around_image>"),
        );
        let missing = |what: &str| Error::Request(format!("tokenizer.json has no {what}"));
        let image = tokenizer.token(id).ok_or_else(|| {
            missing(&format!(
                "token of id {id}, the image_token_id of config.json"
            ))
        })?;
        if tokenizer.token_id(&around).is_none() {
            return Err(missing(&format!("token `{around}`")));
        }
        Ok(Self {
            config: config.clone(),
            tokenizer: tokenizer.clone(),
            around,
            image,
            overview: named("global_image", "<global-img>"),
        })
    }

    /// The text of a picture with one image token a crop.
    fn text(&self, layout: &ImageLayout) -> String {
        let Self {
            around,
            image,
            overview,
            ..
        } = self;
        let whole = format!("{around}{overview}{image}{around}");
        if layout.crops == 1 {
            return whole;
        }
        let tile = |row, column| format!("{around}<row_{row}_col_{column}>{image}");
        let row = |row| {
            let columns = 1..=layout.tiles.width;
            columns
                .map(move |column| tile(row, column))
                .chain(["\n".to_owned()])
        };
        let tiles: String = (1..=layout.tiles.height).flat_map(row).collect();
        format!("{tiles}\n{whole}")
    }
}

impl ImageTokens for Idefics3Tokens {
    fn image_token_id(&self) -> u32 {
        self.config.image_token_id
    }

    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error> {
        let tokens = self.config.tokens_per_crop(layout.crop)?;
        let vocab_size = self.config.text.vocab_size;
        let mut slots = Vec::with_capacity(layout.crops * (tokens + 3));
        let mut crop = 0;
        for id in self.tokenizer.encode(&self.text(layout), false)? {
            if id == self.config.image_token_id {
                slots.extend((0..tokens).map(|token| Slot::visual(id, crop, token)));
                crop += 1;
                continue;
            }
            if id as usize >= vocab_size {
                let token = self.tokenizer.token(id).unwrap_or_default();
                return Err(Error::Request(format!(
                    "token `{token}` around a picture has id {id}, and the model's vocab_size is {vocab_size}"
                )));
            }
            slots.push(Slot::text(id));
        }
        Ok(slots)
    }
}
