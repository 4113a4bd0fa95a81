use vlm_core::{ImageLayout, ImageTokens, Slot};
use vlm_vision::VitConfig;

/// A picture is all the tokens of its crops, in order, and nothing else.
#[derive(Clone, Debug)]
pub struct LlavaTokens {
    image_token_id: u32,
    vision: VitConfig,
}

impl LlavaTokens {
    /// The layout of pictures that `vision` encodes.
    pub fn new(image_token_id: u32, vision: &VitConfig) -> Self {
        Self {
            image_token_id,
            vision: vision.clone(),
        }
    }
}

impl ImageTokens for LlavaTokens {
    fn image_token_id(&self) -> u32 {
        self.image_token_id
    }

    fn lay_out(&self, layout: &ImageLayout) -> Vec<Slot> {
        let tokens = self.vision.num_tokens(layout.crop);
        (0..layout.crops)
            .flat_map(|crop| (0..tokens).map(move |token| (crop, token)))
            .map(|(crop, token)| Slot::visual(self.image_token_id, crop, token))
            .collect()
    }
}
