use image::RgbImage;
use vlm_chat_template::{Message, RenderOptions, Rendered};

use super::{Processor, Request, refuse_videos};
use crate::Error;

impl Processor {
    /// Turns a whole conversation into what a model learns from, and says for each position of
    /// `request.sequence` whether the assistant wrote it; positions under a picture are never the assistant's.
    ///
    /// The conversation is rendered without a generation prompt. The assistant's words are those of the template's
    /// `{% generation %}` blocks; where it has none, those of
    /// [`render_turns`](vlm_chat_template::ChatTemplate::render_turns). A token in which words of both sides meet
    /// is the assistant's, as in the reference. Everything else is as in [`process`](Self::process): what stands
    /// before an answer is what the model will read, and control tokens in the text of messages stay text. In the
    /// assistant's own messages they are control tokens, since the model is to write them.
    ///
    /// ```no_run
    /// use vlm::{AnyConfig, Processor, chat_template::Message};
    ///
    /// # fn main() -> Result<(), vlm::Error> {
    /// let config = AnyConfig::from_folder("path/to/llava-1.5")?;
    /// let processor = Processor::from_folder("path/to/llava-1.5", &config)?;
    /// let messages = [Message::user("What is it?").with_image(), Message::assistant("A cat.")];
    /// let photo = vlm::open_image("cat.png")?;
    /// let (request, assistant) = processor.conversation(&messages, &[photo])?;
    /// assert_eq!(request.sequence.len(), assistant.len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// When the checkpoint has no chat template, the template refuses the conversation or has no place for the
    /// assistant's words, or placeholders and pictures do not match.
    pub fn conversation(
        &self,
        messages: &[Message],
        images: &[RgbImage],
    ) -> Result<(Request, Vec<bool>), Error> {
        refuse_videos(messages)?;
        let rendered = self.turns(messages, &RenderOptions::new())?;
        let tokens = self.tokenise(&rendered)?;
        let places = tokens.iter().map(|(_, bytes)| (bytes.start, bytes.end));
        let assistant = rendered.token_mask(places)?;
        let ids: Vec<u32> = tokens.into_iter().map(|(id, _)| id).collect();
        self.check_known(&ids)?;
        let request = self.request(&ids, images)?;
        let assistant = self.lay_out_mask(&ids, assistant, &request)?;
        Ok((request, assistant))
    }

    /// Messages as the template writes them, with the places of the assistant's words.
    pub(super) fn turns(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, Error> {
        let template = self.needed_template()?;
        // A tokenizer without special tokens has none that a user could write.
        match template.render_turns_sanitized(messages, options) {
            Err(vlm_chat_template::Error::NoControlTokens { .. }) => {
                Ok(template.render_turns(messages, options)?)
            }
            rendered => Ok(rendered?),
        }
    }

    /// A mask of ids as one of positions.
    pub(super) fn lay_out_mask(
        &self,
        ids: &[u32],
        mask: Vec<bool>,
        request: &Request,
    ) -> Result<Vec<bool>, Error> {
        let Some(pictures) = &self.pictures else {
            return Ok(mask);
        };
        let placeholder = pictures.tokens.image_token_id();
        let mut images = request.images.iter();
        let mut positions = Vec::with_capacity(request.sequence.len());
        for (id, assistant) in ids.iter().zip(mask) {
            match (*id == placeholder).then(|| images.next()).flatten() {
                None => positions.push(assistant),
                Some(image) => {
                    let slots = pictures.tokens.lay_out(&image.layout)?;
                    positions.extend(std::iter::repeat_n(false, slots.len()));
                }
            }
        }
        Ok(positions)
    }
}
