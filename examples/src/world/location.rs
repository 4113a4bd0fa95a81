use vlm::chat_template::grounding::BoundingBox;

/// A box of the picture as the model writes it.
pub fn written(area: [f32; 4]) -> String {
    let [x0, y0, x1, y1] = area.map(f64::from);
    vlm::chat_template::grounding::LocationMarkup::new(BINS)
        .location(BoundingBox::new(x0, y0, x1, y1))
}

/// Places along a side that have a token of their own.
pub const BINS: u32 = 64;
