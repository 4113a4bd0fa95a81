use vlm_core::{Error, ImageLayout, ImageTokens, Size, Slot};
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

    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error> {
        check_crop(&self.vision, layout)?;
        let tokens = self.vision.num_tokens(layout.crop);
        let slots = (0..layout.crops)
            .flat_map(|crop| (0..tokens).map(move |token| (crop, token)))
            .map(|(crop, token)| Slot::visual(self.image_token_id, crop, token))
            .collect();
        Ok(slots)
    }
}

/// Refuses crops of another size than the tower's, as the reference does: it interpolates positions only when
/// asked to.
pub(crate) fn check_crop(vision: &VitConfig, layout: &ImageLayout) -> Result<(), Error> {
    let side = vision.image_size;
    if layout.crop == Size::new(side, side) {
        return Ok(());
    }
    let Size { height, width } = layout.crop;
    let message =
        format!("the image processor makes it {height} × {width}, the tower takes {side} × {side}");
    let Size { height, width } = layout.original;
    let name = format!("of {height} × {width} pixels");
    Err(Error::Image { name, message })
}
