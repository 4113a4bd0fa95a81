use vlm_core::{Error, ProcessedImage, Sequence, Source};

use crate::IGNORED;

/// One sequence to learn from, with its pictures, still on the host.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Every position, pictures laid out.
    pub sequence: Sequence,
    /// What each position is, or [`IGNORED`]; the position before it learns to say so.
    pub labels: Vec<i64>,
    /// The pictures, in order.
    pub images: Vec<ProcessedImage>,
}

impl Sample {
    /// A sample that learns every position of text for which `learns` says so; positions under a picture are
    /// never learned.
    pub fn new(
        sequence: Sequence,
        images: Vec<ProcessedImage>,
        learns: impl Fn(usize) -> bool,
    ) -> Self {
        let label = |(index, slot): (usize, &vlm_core::Slot)| match slot.source {
            Source::Text if learns(index) => i64::from(slot.id),
            _ => IGNORED,
        };
        Self {
            labels: sequence.slots.iter().enumerate().map(label).collect(),
            sequence,
            images,
        }
    }

    /// Positions that are learned: labelled ones, but for the first, before which nothing stands.
    pub fn tokens(&self) -> usize {
        let labels = self.labels.iter().skip(1);
        labels.filter(|label| **label != IGNORED).count()
    }

    /// Cuts the end off after `max_length` positions.
    ///
    /// # Errors
    ///
    /// When the cut would go through a picture or leave one out: its tokens and its pixels belong together.
    pub fn truncate(&mut self, max_length: usize) -> Result<(), Error> {
        let cut = self.sequence.slots.iter().skip(max_length);
        if cut.into_iter().any(|slot| slot.source != Source::Text) {
            return Err(Error::TooLong {
                needed: self.sequence.len(),
                allowed: max_length,
                hint: "the sample's pictures reach past the maximum length; raise it, or skip such samples",
            });
        }
        self.sequence.slots.truncate(max_length);
        self.labels.truncate(max_length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vlm_core::Slot;

    fn sample() -> Sample {
        let slots = vec![
            Slot::text(1),
            Slot::visual(9, 0, 0),
            Slot::text(2),
            Slot::text(3),
        ];
        Sample::new(Sequence { slots, crops: 1 }, Vec::new(), |_| true)
    }

    #[test]
    fn pictures_are_not_learned_and_the_first_position_does_not_count() {
        assert_eq!(sample().labels, [1, IGNORED, 2, 3]);
        assert_eq!(sample().tokens(), 2);
    }

    #[test]
    fn a_cut_never_goes_through_a_picture() {
        let mut cut = sample();
        cut.truncate(3).unwrap();
        assert_eq!(cut.labels, [1, IGNORED, 2]);
        assert!(sample().truncate(1).is_err());
    }
}
