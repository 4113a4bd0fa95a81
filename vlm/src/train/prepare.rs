use image::RgbImage;
use vlm_chat_template::{Content, Message, Part, PartKind};
use vlm_core::Size;
use vlm_train::{
    Sample,
    data::{Body, Labels, Picture, Prepare, Record},
};
use vlm_vision::processor::size_of;

use crate::{Error, Processor, Prompt, Request};

/// A record is tokenised as a request is: what a model learns is what it will read.
///
/// ```text
/// Conversation   [bos] USER: <image> What is it? ASSISTANT: A cup.</s>
/// Assistant                                                 ┴┴┴┴┴┴      what the template marks, or the turns
/// Continued      [bos] USER: <image> What is it? ASSISTANT: A cup.</s>
/// Assistant                                                ┴┴┴┴┴┴┴┴┴┴┴  what is not in the tokenised prompt
/// ```
///
/// A completion begins where the tokens of the whole and those of its prompt (with the generation prompt) part, TRL's
/// rule for texts. A token in which both meet is the completion's. To a text that is used as it is and does not end
/// with the end-of-sequence token, that token is added (TRL's `add_eos`).
///
/// Where there is no chat template, and where a family frames every prompt, a conversation of one question and its
/// answer is written as [`Prompt::Question`] is and then answered ([`Processor::answered`]).
///
/// TRL's collator for pictures differs in three ways: it tokenises prompt and completion apart, which gives some
/// tokenizers a space too much between them; it adds no beginning-of-sequence token where the template writes none;
/// it adds no end-of-sequence token.
impl Prepare for Processor {
    fn prepare(&self, record: &Record, labels: Labels) -> Result<Sample, vlm_core::Error> {
        let pictures = record.pictures.iter().map(decode);
        let pictures: Vec<RgbImage> = pictures.collect::<Result<_, _>>()?;
        self.sample(&record.body, &pictures, labels)
            .map_err(|error| match error {
                Error::Core(error) => error,
                other => vlm_core::Error::Request(other.to_string()),
            })
    }
}

impl Processor {
    fn sample(&self, body: &Body, pictures: &[RgbImage], labels: Labels) -> Result<Sample, Error> {
        match body {
            Body::Conversation(messages) if self.template().is_none() || self.frames_prompts() => {
                self.question_and_answer(messages, pictures, labels)
            }
            Body::Conversation(messages) => {
                let (request, assistant) =
                    self.conversation(&self.as_template_takes(messages), pictures)?;
                Ok(sample(request, |position| {
                    labels == Labels::All || assistant[position]
                }))
            }
            Body::Continued { prompt, completion } => {
                let prompt = self.as_template_takes(prompt);
                let completion = self.as_template_takes(completion);
                let (request, completion) = self.continued(&prompt, &completion, pictures)?;
                Ok(sample(request, |position| {
                    labels == Labels::All || completion[position]
                }))
            }
            Body::Completed { prompt, completion } if self.frames_prompts() => {
                let prompt = Prompt::Text(prompt.clone());
                let (request, answer) = self.answered(&prompt, completion, pictures)?;
                Ok(sample(request, |position| {
                    labels == Labels::All || answer[position]
                }))
            }
            Body::Completed { prompt, completion } => {
                let whole = self.ended(format!("{prompt}{completion}"));
                let request = self.process(&Prompt::Text(whole), pictures)?;
                let begins = match labels {
                    Labels::All => 0,
                    Labels::Assistant => self.common_prefix(prompt, &request, pictures)?,
                };
                Ok(sample(request, |position| position >= begins))
            }
            Body::Text(_) if labels == Labels::Assistant => {
                let message = "key `text`: there is no telling what of a text the assistant says";
                Err(vlm_core::Error::Request(message.to_owned()).into())
            }
            Body::Text(text) => {
                let text = self.ended(text.clone());
                Ok(sample(self.process(&Prompt::Text(text), pictures)?, |_| {
                    true
                }))
            }
        }
    }

    /// Positions that a text which is the beginning of a whole has in common with it.
    fn common_prefix(
        &self,
        prompt: &str,
        whole: &Request,
        pictures: &[RgbImage],
    ) -> Result<usize, Error> {
        let sizes: Vec<Size> = pictures.iter().map(size_of).collect();
        let (prompt, _) = self.plan(&Prompt::Text(prompt.to_owned()), &sizes)?;
        let slots = prompt.slots.iter().zip(&whole.sequence.slots);
        Ok(slots.take_while(|(one, other)| one == other).count())
    }

    /// Templates of models with pictures take lists of parts, as TRL's `prepare_multimodal_messages` makes them.
    fn as_template_takes(&self, messages: &[Message]) -> Vec<Message> {
        let mut messages = messages.to_vec();
        if self.takes_pictures() {
            for message in &mut messages {
                if let Some(Content::Text(text)) = &message.content {
                    message.content = Some(vec![Part::text(text)].into());
                }
            }
        }
        messages
    }

    /// One turn of each, written as a question is asked where there is no template, or where the family frames
    /// every prompt.
    fn question_and_answer(
        &self,
        messages: &[Message],
        pictures: &[RgbImage],
        labels: Labels,
    ) -> Result<Sample, Error> {
        let [question, answer] = messages else {
            return Err(self.one_turn(messages.len()));
        };
        if (question.role.as_str(), answer.role.as_str()) != ("user", "assistant") {
            return Err(self.one_turn(messages.len()));
        }
        let prompt = match self.template() {
            None => Prompt::Question(text_of(question)),
            Some(_) => Prompt::Messages(self.as_template_takes(std::slice::from_ref(question))),
        };
        let answer = format!(" {}", text_of(answer));
        let (request, learns) = self.answered(&prompt, &answer, pictures)?;
        Ok(sample(request, |position| {
            labels == Labels::All || learns[position]
        }))
    }

    fn one_turn(&self, found: usize) -> Error {
        let reason = match self.template() {
            None => "the checkpoint has no chat template",
            Some(_) => "the model reads one prompt",
        };
        let message = format!(
            "key `messages`: {reason}, so expected a question of the user and an answer of the assistant, found \
             {found} message(s)"
        );
        vlm_core::Error::Request(message).into()
    }
}

/// What a message says, its pictures left out.
fn text_of(message: &Message) -> String {
    match &message.content {
        Some(Content::Text(text)) => text.clone(),
        _ => {
            let texts = message.parts().iter().filter_map(|part| match part.kind() {
                PartKind::Text(text) => Some(text),
                _ => None,
            });
            texts.collect()
        }
    }
}

fn sample(request: Request, learns: impl Fn(usize) -> bool) -> Sample {
    Sample::new(request.sequence, request.images, learns)
}

fn decode(picture: &Picture) -> Result<RgbImage, vlm_core::Error> {
    match picture {
        Picture::File(path) => vlm_vision::open::open(path),
        Picture::Bytes { name, bytes } => vlm_vision::open::decode(bytes, name),
    }
}
