mod answered;
mod continued;
mod conversation;

use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use vlm_chat_template::{
    ChatTemplate, Content, Message, Part, PartKind, Piece, RenderOptions, Rendered, SpecialTokens,
    TemplateSet,
};
use vlm_core::{
    ImageBatch, ImageLayout, ImageProcessor, ImageTokens, Images, ProcessedImage, Sequence, Size,
};
use vlm_text::{TokenPlace, Tokenizer};
use vlm_vision::processor::size_of;

use crate::{AnyConfig, Error, Prompt};

/// Everything of a checkpoint that runs on the host: tokenizer, chat template, image processor and the layout
/// of pictures in text.
#[derive(Debug)]
pub struct Processor {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    pictures: Option<Pictures>,
    config: AnyConfig,
    folder: PathBuf,
}

#[derive(Debug)]
struct Pictures {
    processor: Box<dyn ImageProcessor>,
    tokens: Box<dyn ImageTokens>,
    placeholder: String,
}

/// A prompt that is ready for a model.
#[derive(Clone, Debug)]
pub struct Request {
    /// Every position, pictures laid out.
    pub sequence: Sequence,
    /// The pictures, in order.
    pub images: Vec<ProcessedImage>,
}

/// Files of a checkpoint that belong to its processor.
const FILES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
];

impl Processor {
    /// Reads the processor's files of a checkpoint folder.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged, or a key cannot be honoured.
    pub fn from_folder(folder: impl AsRef<Path>, config: &AnyConfig) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let mut tokenizer = config.tokenizer(folder)?;
        config.extend_tokenizer(&mut tokenizer, folder)?;
        let pictures = match config.image_tokens(&tokenizer)? {
            None => None,
            Some(tokens) => {
                let id = tokens.image_token_id();
                let placeholder = tokenizer.token(id).ok_or_else(|| {
                    vlm_core::Error::file(
                        folder.join("config.json"),
                        format!("key `image_token_index`: token {id} is not in tokenizer.json"),
                    )
                })?;
                Some(Pictures {
                    processor: config.image_processor(folder, &tokenizer)?,
                    tokens,
                    placeholder,
                })
            }
        };
        let template = match TemplateSet::from_folder(folder) {
            Ok(templates) => {
                // Old folders name tokens outside of tokenizer_config.json, too.
                let named = tokenizer.special_tokens();
                let named = named.fold(SpecialTokens::new(), |all, (name, token)| {
                    all.with(name, token)
                });
                Some(templates.default_template()?.with_special_tokens(named))
            }
            Err(vlm_chat_template::Error::NoTemplate { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            tokenizer,
            template,
            pictures,
            config: config.clone(),
            folder: folder.to_path_buf(),
        })
    }

    /// Whether the family puts something of its own around every prompt, so that a whole conversation is more
    /// than its text.
    pub(crate) fn frames_prompts(&self) -> bool {
        self.config.frames_prompts()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, where the checkpoint has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Whether the model is shown pictures.
    pub fn takes_pictures(&self) -> bool {
        self.pictures.is_some()
    }

    /// Makes pixel values of one picture.
    ///
    /// # Errors
    ///
    /// When the model takes no pictures, or not this one.
    pub fn process_image(&self, image: &RgbImage) -> Result<ProcessedImage, Error> {
        let pictures = self.pictures.as_ref().ok_or_else(no_pictures)?;
        Ok(pictures.processor.process(image)?)
    }

    /// Turns a prompt and its pictures into what a model reads.
    ///
    /// # Errors
    ///
    /// When placeholders and pictures do not match, the template refuses the conversation, or the model takes
    /// no pictures.
    pub fn process(&self, prompt: &Prompt, images: &[RgbImage]) -> Result<Request, Error> {
        let sizes: Vec<Size> = images.iter().map(size_of).collect();
        let ids = self.known_ids(prompt, &sizes)?;
        self.request(&ids, images)
    }

    fn request(&self, ids: &[u32], images: &[RgbImage]) -> Result<Request, Error> {
        let Some(pictures) = self.pictures_for(images.len())? else {
            return Ok(Request {
                sequence: Sequence::text(ids),
                images: Vec::new(),
            });
        };
        let images = images
            .par_iter()
            .map(|image| pictures.processor.process(image));
        // In their order, so that the first error is the one that is told.
        let images: Vec<Result<_, _>> = images.collect();
        let images: Vec<ProcessedImage> = images.into_iter().collect::<Result<_, _>>()?;
        let layouts: Vec<ImageLayout> = images.iter().map(|image| image.layout.clone()).collect();
        Ok(Request {
            sequence: Sequence::lay_out(ids, &layouts, pictures.tokens.as_ref())?,
            images,
        })
    }

    /// The positions that a prompt takes with pictures of the given sizes, without their pixels.
    ///
    /// # Errors
    ///
    /// As [`process`](Self::process).
    pub fn plan(&self, prompt: &Prompt, sizes: &[Size]) -> Result<(Sequence, Vec<usize>), Error> {
        let ids = self.known_ids(prompt, sizes)?;
        let Some(pictures) = self.pictures_for(sizes.len())? else {
            return Ok((Sequence::text(&ids), Vec::new()));
        };
        let layouts = sizes.iter().map(|size| pictures.processor.layout(*size));
        let layouts: Vec<ImageLayout> = layouts.collect::<Result<_, _>>()?;
        let tokens = layouts
            .iter()
            .map(|layout| Ok(pictures.tokens.lay_out(layout)?.len()));
        let tokens = tokens.collect::<Result<_, Error>>()?;
        Ok((
            Sequence::lay_out(&ids, &layouts, pictures.tokens.as_ref())?,
            tokens,
        ))
    }

    /// Writes the processor's files into another folder.
    ///
    /// # Errors
    ///
    /// When a file cannot be copied.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(vlm_core::Error::io(folder))?;
        for name in FILES {
            let from = self.folder.join(name);
            if from.is_file() {
                std::fs::copy(&from, folder.join(name)).map_err(vlm_core::Error::io(&from))?;
            }
        }
        Ok(())
    }

    // Refuses pictures where there is nothing to do with them.
    fn pictures_for(&self, images: usize) -> Result<Option<&Pictures>, Error> {
        if self.pictures.is_none() && images > 0 {
            return Err(no_pictures());
        }
        Ok(self.pictures.as_ref())
    }

    /// The prompt's ids, each of which the model has an embedding for, or is a picture's.
    fn known_ids(&self, prompt: &Prompt, images: &[Size]) -> Result<Vec<u32>, Error> {
        let ids = self.ids(prompt, images)?;
        self.check_known(&ids)?;
        Ok(ids)
    }

    /// Refuses ids for which the model has no embedding and that are no picture's.
    fn check_known(&self, ids: &[u32]) -> Result<(), Error> {
        let vocab_size = self.config.text().vocab_size;
        let image = self.pictures.as_ref().map(|p| p.tokens.image_token_id());
        let unknown = |id: &&u32| **id as usize >= vocab_size && Some(**id) != image;
        match ids.iter().find(unknown) {
            None => Ok(()),
            Some(id) => {
                let token = self.tokenizer.token(*id).unwrap_or_default();
                let message = format!(
                    "token `{token}` of the prompt has id {id}, and the model's vocab_size is {vocab_size}"
                );
                Err(vlm_core::Error::Request(message).into())
            }
        }
    }

    fn ids(&self, prompt: &Prompt, images: &[Size]) -> Result<Vec<u32>, Error> {
        match (prompt, &self.template) {
            (Prompt::Text(text), _) => Ok(self.config.encode(&self.tokenizer, text, images)?),
            (Prompt::Messages(messages), _) => {
                refuse_videos(messages)?;
                match &self.template {
                    Some(template) => self.render(template, messages, images),
                    None => {
                        let text = self.write(messages, images)?;
                        Ok(self.config.encode(&self.tokenizer, &text, images)?)
                    }
                }
            }
            (Prompt::Question(question), Some(template)) => {
                // Templates of language models take a string, those of models with pictures a list of parts.
                let message = match self.pictures {
                    None => Message::user(question.as_str()),
                    Some(_) => {
                        let parts = std::iter::repeat_with(Part::image).take(images.len());
                        let parts: Vec<Part> = parts.chain([Part::text(question)]).collect();
                        Message::user(parts)
                    }
                };
                self.render(template, &[message], images)
            }
            (Prompt::Question(question), None) => {
                let placeholder = self.pictures.as_ref().map_or("", |p| &p.placeholder);
                let text = self
                    .config
                    .usual_prompt(question, placeholder, images.len());
                Ok(self.config.encode(&self.tokenizer, &text, images)?)
            }
        }
    }

    fn needed_template(&self) -> Result<&ChatTemplate, Error> {
        self.template.as_ref().ok_or_else(|| self.no_template())
    }

    fn no_template(&self) -> Error {
        let message = "the checkpoint has no chat template: expected chat_template.jinja, \
                       chat_template.json or the key `chat_template` in tokenizer_config.json";
        vlm_core::Error::file(&self.folder, message).into()
    }

    /// The prompt of a single message by the family's markup, where there is no template.
    fn write(&self, messages: &[Message], images: &[Size]) -> Result<String, Error> {
        if let [message] = messages {
            let parts = match &message.content {
                Some(Content::Text(text)) => vec![Part::text(text.as_str())],
                _ => message.parts().to_vec(),
            };
            let shown = parts.iter().filter(|part| part.is_image()).count();
            if let Some(text) = self.config.write(&self.tokenizer, &parts, images)? {
                let given = images.len();
                return match shown == given {
                    true => Ok(text),
                    false => {
                        let message =
                            format!("the message has {shown} image part(s) for {given} image(s)");
                        Err(vlm_core::Error::Request(message).into())
                    }
                };
            }
        }
        Err(self.no_template())
    }

    fn render(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        images: &[Size],
    ) -> Result<Vec<u32>, Error> {
        let options = RenderOptions::new().with_generation_prompt();
        if self.config.frames_prompts() {
            let rendered = template.render(messages, &options)?;
            let text = rendered.text();
            return Ok(self.config.encode(&self.tokenizer, text, images)?);
        }
        // A tokenizer without special tokens has none that a user could write.
        let rendered = match template.render_sanitized(messages, &options) {
            Err(vlm_chat_template::Error::NoControlTokens { .. }) => {
                template.render(messages, &options)?
            }
            rendered => rendered?,
        };
        let tokens = self.tokenise(&rendered)?;
        Ok(tokens.into_iter().map(|(id, _)| id).collect())
    }

    /// The tokens of what a template wrote, each with its place in the text.
    fn tokenise(&self, rendered: &Rendered) -> Result<Vec<TokenPlace>, Error> {
        // A tokenizer alone adds nothing to a template's text; a processor adds what is not there yet.
        let add = self.pictures.is_some() && !self.tokenizer.begins_with_bos(rendered.text());
        let tokenizer = &self.tokenizer;
        let (mut tokens, mut start) = (Vec::new(), 0);
        for (index, piece) in rendered.pieces().enumerate() {
            let new = match (index, piece) {
                (0, Piece::Text(text)) => tokenizer.encode_places(text, add)?,
                (0, Piece::Literal(text)) => {
                    let added = tokenizer.encode_places("", add)?;
                    let literal = tokenizer.encode_places_continued(text, true)?;
                    [added, literal].concat()
                }
                (_, Piece::Text(text)) => tokenizer.encode_places_continued(text, false)?,
                (_, Piece::Literal(text)) => tokenizer.encode_places_continued(text, true)?,
            };
            let place = |(id, bytes): TokenPlace| (id, start + bytes.start..start + bytes.end);
            tokens.extend(new.into_iter().map(place));
            start += piece.as_str().len();
        }
        Ok(tokens)
    }
}

/// Refuses parts that a template may write a placeholder for and that nothing here reads.
fn refuse_videos(messages: &[Message]) -> Result<(), Error> {
    let is_video = |part: &Part| match part.kind() {
        PartKind::Other(value) => value.get("type").is_some_and(|kind| kind == "video"),
        _ => false,
    };
    match messages.iter().position(|m| m.parts().iter().any(is_video)) {
        None => Ok(()),
        Some(index) => {
            let message = format!("message {} has a video: pictures alone are read", index + 1);
            Err(vlm_core::Error::Request(message).into())
        }
    }
}

fn no_pictures() -> Error {
    let message = "this model is a language model alone and takes no pictures";
    vlm_core::Error::Request(message.to_owned()).into()
}

impl Request {
    /// The pictures of several requests as one batch; `None` when there is none.
    pub fn images(
        requests: &[Self],
        device: &burn::tensor::Device,
        dtype: burn::tensor::DType,
    ) -> Option<Images> {
        let images: Vec<&ProcessedImage> = requests
            .iter()
            .flat_map(|request| &request.images)
            .collect();
        (!images.is_empty()).then(|| Images::Pixels(ImageBatch::new(images, device, dtype)))
    }
}
