use burn::tensor::{DType, Device};
use vlm_core::{ImageBatch, Images, ProcessedImage, Sequence, VlmInput};

use crate::{IGNORED, Sample};

/// Some samples that pass through the model together.
#[derive(Clone, Debug)]
pub struct MicroBatch {
    /// Samples of each row: one, or several that are packed and do not see one another.
    pub rows: Vec<Vec<Sample>>,
}

impl MicroBatch {
    /// One sample a row.
    pub fn padded(samples: Vec<Sample>) -> Self {
        Self {
            rows: samples.into_iter().map(|sample| vec![sample]).collect(),
        }
    }

    /// Fills rows of at most `length` positions with samples, first fit in the given order; a longer sample
    /// has a row of its own.
    pub fn packed(samples: Vec<Sample>, length: usize) -> Self {
        let mut rows: Vec<Vec<Sample>> = Vec::new();
        let positions =
            |row: &[Sample]| -> usize { row.iter().map(|sample| sample.sequence.len()).sum() };
        for sample in samples {
            let fits = |row: &&mut Vec<Sample>| positions(row) + sample.sequence.len() <= length;
            match rows.iter_mut().find(fits) {
                Some(row) => row.push(sample),
                None => rows.push(vec![sample]),
            }
        }
        Self { rows }
    }

    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.rows.iter().flatten()
    }

    /// Positions that are learned.
    pub fn tokens(&self) -> usize {
        self.samples().map(Sample::tokens).sum()
    }

    /// What the model reads: rows padded on the right.
    pub fn input(&self, device: &Device, dtype: DType) -> VlmInput {
        let images = self.images();
        let images =
            (!images.is_empty()).then(|| Images::Pixels(ImageBatch::new(images, device, dtype)));
        self.input_with(images, device)
    }

    /// What the model reads, with the pictures in any form.
    pub fn input_with(&self, images: Option<Images>, device: &Device) -> VlmInput {
        let sequences = |row: &Vec<Sample>| -> Vec<Sequence> {
            row.iter().map(|sample| sample.sequence.clone()).collect()
        };
        let rows: Vec<Vec<Sequence>> = self.rows.iter().map(sequences).collect();
        VlmInput::packed(&rows, images, device)
    }

    /// The pictures of all samples, in order.
    pub fn images(&self) -> Vec<&ProcessedImage> {
        self.samples().flat_map(|sample| &sample.images).collect()
    }

    /// The label that each of the `batch · seq` positions is to predict: that of the position after it.
    pub fn targets(&self) -> Vec<i64> {
        let length = |row: &Vec<Sample>| row.iter().map(|sample| sample.labels.len()).sum();
        let seq: usize = self.rows.iter().map(length).max().unwrap_or(0);
        let mut targets = Vec::with_capacity(self.rows.len() * seq);
        for row in &self.rows {
            let end = targets.len() + seq;
            for sample in row {
                targets.extend(sample.labels.iter().skip(1));
                targets.extend((!sample.labels.is_empty()).then_some(IGNORED));
            }
            targets.resize(end, IGNORED);
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ids: &[u32]) -> Sample {
        Sample::new(Sequence::text(ids), Vec::new(), |_| true)
    }

    #[test]
    fn a_documents_last_position_predicts_nothing() {
        let batch = MicroBatch::packed(vec![text(&[1, 2, 3]), text(&[4, 5]), text(&[6])], 4);
        assert_eq!(batch.rows.len(), 2);
        assert_eq!(
            batch.targets(),
            [2, 3, IGNORED, IGNORED, 5, IGNORED, IGNORED, IGNORED]
        );
        assert_eq!(batch.tokens(), 3);
    }
}
