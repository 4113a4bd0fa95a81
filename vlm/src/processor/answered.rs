use image::RgbImage;
use vlm_core::Slot;

use super::{Processor, Request};
use crate::{Error, Prompt};

impl Processor {
    /// Turns a prompt and the answer that a model is to give into what it learns from, and says for each position
    /// of `request.sequence` whether it is the answer's.
    ///
    /// The prompt is what [`process`](Self::process) makes of it, with all that a family puts around it, and the
    /// answer follows as a model would write it: its control tokens count, and the end-of-sequence token ends it.
    ///
    /// # Errors
    ///
    /// As [`process`](Self::process), or when the answer has a token that the model has not.
    pub fn answered(
        &self,
        prompt: &Prompt,
        answer: &str,
        images: &[RgbImage],
    ) -> Result<(Request, Vec<bool>), Error> {
        let mut request = self.process(prompt, images)?;
        let begins = request.sequence.len();
        let answer = self.ended(answer.to_owned());
        let ids = self.tokenizer.encode_continued(&answer, false)?;
        self.check_known(&ids)?;
        request
            .sequence
            .slots
            .extend(ids.into_iter().map(Slot::text));
        let positions = 0..request.sequence.len();
        Ok((
            request,
            positions.map(|position| position >= begins).collect(),
        ))
    }

    /// A text with the end-of-sequence token, where it does not end with it already.
    pub(crate) fn ended(&self, mut text: String) -> String {
        let eos = self.tokenizer.special_token("eos").unwrap_or_default();
        if !text.ends_with(eos) {
            text.push_str(eos);
        }
        text
    }
}
