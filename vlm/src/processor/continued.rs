use image::RgbImage;
use vlm_chat_template::{Message, RenderOptions};

use super::{Processor, Request, refuse_videos};
use crate::Error;

impl Processor {
    /// As [`conversation`](Self::conversation) of a prompt and its completion, and says for each position whether it
    /// is the completion's.
    ///
    /// The completion begins where the tokens of the whole part from those of the prompt with its generation prompt,
    /// as in TRL (`common_prefix_length`); so a token in which both meet is the completion's.
    ///
    /// # Errors
    ///
    /// As [`conversation`](Self::conversation).
    pub fn continued(
        &self,
        prompt: &[Message],
        completion: &[Message],
        images: &[RgbImage],
    ) -> Result<(Request, Vec<bool>), Error> {
        let whole = [prompt, completion].concat();
        refuse_videos(&whole)?;
        let ids = |messages: &[Message], options: &RenderOptions| -> Result<Vec<u32>, Error> {
            let tokens = self.tokenise(&self.turns(messages, options)?)?;
            Ok(tokens.into_iter().map(|(id, _)| id).collect())
        };
        let asked = ids(prompt, &RenderOptions::new().with_generation_prompt())?;
        let ids = ids(&whole, &RenderOptions::new())?;
        self.check_known(&ids)?;
        let common = ids
            .iter()
            .zip(&asked)
            .take_while(|(one, other)| one == other);
        let begins = common.count();
        let request = self.request(&ids, images)?;
        let mask = (0..ids.len()).map(|index| index >= begins).collect();
        let mask = self.lay_out_mask(&ids, mask, &request)?;
        Ok((request, mask))
    }
}
