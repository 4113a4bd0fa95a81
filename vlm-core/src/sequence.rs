use crate::{Error, ImageLayout};

/// Where a position of a sequence gets its embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// From the text embedding of its id.
    Text,
    /// From a visual token.
    Visual {
        /// Crop, counted over the pictures of the sequence in order.
        crop: usize,
        /// Token of the crop.
        token: usize,
    },
    /// From a learned vector that stands between visual tokens.
    Separator(usize),
}

impl Source {
    /// The same source where the sequence's crops are counted from `first_crop` on.
    pub(crate) fn in_batch(self, first_crop: usize) -> Self {
        match self {
            Self::Visual { crop, token } => Self::Visual {
                crop: crop + first_crop,
                token,
            },
            other => other,
        }
    }
}

/// One position: the id that a tokenizer knows it by, and where its embedding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Token id; the image token's for visual positions.
    pub id: u32,
    /// Where the embedding comes from.
    pub source: Source,
}

impl Slot {
    /// A text token.
    pub const fn text(id: u32) -> Self {
        Self {
            id,
            source: Source::Text,
        }
    }

    /// A visual token under the image token's id.
    pub const fn visual(id: u32, crop: usize, token: usize) -> Self {
        Self {
            id,
            source: Source::Visual { crop, token },
        }
    }

    /// A separator under the image token's id.
    pub const fn separator(id: u32, index: usize) -> Self {
        Self {
            id,
            source: Source::Separator(index),
        }
    }
}

/// Says which positions a picture takes in a sequence: the part of a family that is neither weights nor pixels.
pub trait ImageTokens: std::fmt::Debug + Send + Sync {
    /// Id of the placeholder that stands for one picture in tokenised text.
    fn image_token_id(&self) -> u32;

    /// The positions that replace the placeholder; crops are counted from the picture's first.
    ///
    /// # Errors
    ///
    /// When the model cannot take crops of this size.
    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error>;
}

/// A tokenised text with its pictures laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Every position.
    pub slots: Vec<Slot>,
    /// Number of crops of all pictures.
    pub crops: usize,
}

impl Sequence {
    /// Replaces each image placeholder in `ids` by the positions of its picture, in order.
    ///
    /// # Errors
    ///
    /// When there are more placeholders than pictures or the other way round; the message names the picture.
    pub fn lay_out(
        ids: &[u32],
        images: &[ImageLayout],
        tokens: &dyn ImageTokens,
    ) -> Result<Self, Error> {
        let image_token_id = tokens.image_token_id();
        let placeholders = ids.iter().filter(|id| **id == image_token_id).count();
        if placeholders < images.len() {
            return Err(Error::Request(format!(
                "the prompt has {placeholders} image placeholder(s) for {} image(s): image {} has none",
                images.len(),
                placeholders + 1
            )));
        }
        if placeholders > images.len() {
            return Err(Error::Request(format!(
                "the prompt has {placeholders} image placeholder(s) for {} image(s): placeholder {} has no image",
                images.len(),
                images.len() + 1
            )));
        }
        let mut sequence = Self::default();
        let mut images = images.iter();
        for id in ids {
            let Some(layout) = (*id == image_token_id).then(|| images.next()).flatten() else {
                sequence.slots.push(Slot::text(*id));
                continue;
            };
            let first_crop = sequence.crops;
            sequence
                .slots
                .extend(tokens.lay_out(layout)?.into_iter().map(|mut slot| {
                    if let Source::Visual { crop, .. } = &mut slot.source {
                        *crop += first_crop;
                    }
                    slot
                }));
            sequence.crops += layout.crops;
        }
        Ok(sequence)
    }

    /// A text without pictures.
    pub fn text(ids: &[u32]) -> Self {
        Self {
            slots: ids.iter().copied().map(Slot::text).collect(),
            crops: 0,
        }
    }

    /// The ids of all positions.
    pub fn ids(&self) -> Vec<u32> {
        self.slots.iter().map(|slot| slot.id).collect()
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Size;

    /// Two tokens and a separator for each crop.
    #[derive(Debug)]
    struct TwoTokens;

    impl ImageTokens for TwoTokens {
        fn image_token_id(&self) -> u32 {
            9
        }

        fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, Error> {
            let crop = |crop| {
                [
                    Slot::visual(9, crop, 0),
                    Slot::visual(9, crop, 1),
                    Slot::separator(9, 0),
                ]
            };
            Ok((0..layout.crops).flat_map(crop).collect())
        }
    }

    fn picture(crops: usize) -> ImageLayout {
        ImageLayout {
            original: Size::new(1, 1),
            crop: Size::new(1, 1),
            tiles: Size::new(1, crops),
            crops,
        }
    }

    #[test]
    fn crops_are_counted_over_all_pictures() {
        let sequence =
            Sequence::lay_out(&[1, 9, 2, 9], &[picture(1), picture(2)], &TwoTokens).unwrap();
        assert_eq!(sequence.ids(), [1, 9, 9, 9, 2, 9, 9, 9, 9, 9, 9]);
        assert_eq!(sequence.crops, 3);
        assert_eq!(sequence.slots[5], Slot::visual(9, 1, 0));
        assert_eq!(sequence.slots[8], Slot::visual(9, 2, 0));
    }

    #[test]
    fn counts_must_agree() {
        let few = Sequence::lay_out(&[9], &[picture(1), picture(1)], &TwoTokens).unwrap_err();
        assert!(few.to_string().ends_with("image 2 has none"), "{few}");
        let many = Sequence::lay_out(&[9, 9], &[picture(1)], &TwoTokens).unwrap_err();
        assert!(
            many.to_string().ends_with("placeholder 2 has no image"),
            "{many}"
        );
    }
}
