use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use burn::tensor::Tensor;
use image::RgbImage;
use vlm_chat_template::{Message, Part};
use vlm_core::{ImageBatch, Images, Sequence, Size, Source, VisionLanguageModel, nn::KvCache};
use vlm_text::{Answer, GenerationConfig, TextDecoding, generate_text, prefill_rest};
use vlm_vision::processor::size_of;

use crate::{Error, Pretrained, Prompt};

/// A conversation that remembers: a further question costs only its own tokens.
///
/// The history is rendered by the checkpoint's chat template. What the cache holds of it from the turns before
/// is not computed again, and a picture is encoded once, however often it is shown.
///
/// A checkpoint without a chat template was not taught to look back: there a question stands alone, in the form
/// that its family is usually asked in, with the pictures that were shown last
/// ([`remembers`](Self::remembers) tells).
///
/// The conversation may be as long as the model was trained for (`max_position_embeddings`); what does not fit
/// is an error that names both lengths. Where rotary frequencies follow the length (`dynamic`, `longrope`),
/// keys in the cache keep those of the turn in which they were made, as in the reference.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use burn::tensor::{Device, FloatDType};
/// use vlm::{Chat, Pretrained};
///
/// # fn main() -> Result<(), vlm::Error> {
/// let llava = Pretrained::load("path/to/llava-1.5", FloatDType::F32, &Device::default())?;
/// let config = llava.generation_config(128)?;
/// let mut chat = Chat::new(&llava);
/// let show = |text: &str| {
///     print!("{text}");
///     ControlFlow::Continue(())
/// };
/// chat.ask("What is this?", vec![vlm::open_image("photo.jpg")?], &config, show)?;
/// let answer = chat.ask("What colour is it?", vec![], &config, show)?;
/// println!("{} ({} tokens were read)", answer.text, chat.tokens_read());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Chat<'a> {
    pretrained: &'a Pretrained,
    messages: Vec<Message>,
    // Indices into `features`, in the order of the conversation.
    shown: Vec<usize>,
    features: Vec<Picture>,
    cache: KvCache,
    held: Vec<Place>,
    tokens_read: usize,
    reading_time: Duration,
}

/// A picture and the visual tokens that became of it.
#[derive(Debug)]
struct Picture {
    image: RgbImage,
    tokens: Tensor<3>,
}

/// What stands at a position, told apart by the content of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    id: u32,
    source: Source,
    picture: Option<usize>,
}

impl<'a> Chat<'a> {
    /// A conversation without a turn.
    pub fn new(pretrained: &'a Pretrained) -> Self {
        Self {
            pretrained,
            messages: Vec::new(),
            shown: Vec::new(),
            features: Vec::new(),
            cache: empty_cache(pretrained),
            held: Vec::new(),
            tokens_read: 0,
            reading_time: Duration::ZERO,
        }
    }

    /// The turns so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Positions of the latest question that were not in the cache.
    pub fn tokens_read(&self) -> usize {
        self.tokens_read
    }

    /// How long the latest question took until its answer began, new pictures included.
    pub fn reading_time(&self) -> Duration {
        self.reading_time
    }

    /// Whether a question is asked with the turns before it, as a chat template tells; else by itself.
    pub fn remembers(&self) -> bool {
        self.pretrained.processor.template().is_some()
    }

    /// Begins anew. Features of pictures are kept.
    pub fn reset(&mut self) {
        self.messages.clear();
        self.shown.clear();
    }

    /// Encodes a picture ahead of the question about it; one that is known costs nothing.
    ///
    /// # Errors
    ///
    /// When the model takes no pictures, or not this one.
    pub fn encode(&mut self, image: &RgbImage) -> Result<(), Error> {
        self.feature(image).map(drop)
    }

    /// Asks, with new pictures, and shows the answer's text as it becomes certain; the answer ends where
    /// `on_text` breaks. A turn that fails leaves the conversation as it was.
    ///
    /// # Errors
    ///
    /// When the chat template refuses the turn, the model takes no pictures or not so many, the conversation is
    /// too long, or as [`generate_text`].
    pub fn ask(
        &mut self,
        question: &str,
        images: Vec<RgbImage>,
        config: &GenerationConfig,
        on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer, Error> {
        let turns = self.messages.len();
        let shown = self.shown.clone();
        let answer = self.turn(question, &images, config, on_text);
        if answer.is_err() {
            self.messages.truncate(turns);
            self.shown = shown;
        }
        answer
    }

    fn turn(
        &mut self,
        question: &str,
        images: &[RgbImage],
        config: &GenerationConfig,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let processor = &self.pretrained.processor;
        if !self.remembers() && !images.is_empty() {
            self.shown.clear();
        }
        for image in images {
            let feature = self.feature(image)?;
            self.shown.push(feature);
        }
        let parts = std::iter::repeat_with(Part::image).take(images.len());
        let parts: Vec<Part> = parts.chain([Part::text(question)]).collect();
        self.messages.push(match processor.takes_pictures() {
            true => Message::user(parts),
            false => Message::user(question),
        });
        let shown = self.shown.iter().map(|index| &self.features[*index]);
        let sizes: Vec<Size> = shown.map(|picture| size_of(&picture.image)).collect();
        let prompt = match self.remembers() {
            true => Prompt::Messages(self.messages.clone()),
            false => Prompt::Question(question.to_owned()),
        };
        let (sequence, _) = processor.plan(&prompt, &sizes)?;
        let places = self.places(&sequence);
        // The last position is always read: its scores are what an answer begins with.
        let known = places.iter().zip(&self.held).take_while(|(a, b)| a == b);
        let known = known.count().min(places.len().saturating_sub(1));
        let needed = places
            .len()
            .saturating_add(config.max_new_tokens.saturating_sub(1));
        if needed > self.cache.capacity() {
            return Err(vlm_core::Error::TooLong {
                needed,
                allowed: self.cache.capacity(),
                hint: "allow fewer new tokens or begin the conversation anew",
            }
            .into());
        }
        self.tokens_read = places.len() - known;
        // Until the turn is over, the cache is not ours to reuse.
        let mut cache = std::mem::replace(&mut self.cache, empty_cache(self.pretrained));
        self.held.clear();
        cache.truncate(known);
        let visual = self.visual(&sequence, known);
        let model = &self.pretrained.model;
        let tokenizer = processor.tokenizer();
        let device = self.pretrained.device();
        let prefilled = prefill_rest(model, &sequence, visual, cache, device)?;
        // A device that cannot wait computes at once.
        let _ = device.sync();
        self.reading_time = start.elapsed();
        if config.beams.num_beams > 1 {
            let show = |_: usize, text: &str| on_text(text);
            let mut answers = generate_text(model, tokenizer, prefilled, config, show)?;
            return Ok(self.remember(answers.remove(0)));
        }
        let mut decoding = TextDecoding::new(model, tokenizer, prefilled, config)?;
        while let Some(piece) = decoding.next() {
            if on_text(&piece?.text).is_break() {
                decoding.stop(0);
            }
        }
        let (mut answers, cache) = decoding.finish();
        let answer = answers.remove(0);
        let written = answer.generated.tokens.iter().map(|id| Place {
            id: *id,
            source: Source::Text,
            picture: None,
        });
        self.held = places.into_iter().chain(written).collect();
        self.held.truncate(cache.len());
        self.cache = cache;
        Ok(self.remember(answer))
    }

    fn remember(&mut self, answer: Answer) -> Answer {
        let text = answer.text.trim();
        self.messages
            .push(match self.pretrained.processor.takes_pictures() {
                true => Message::assistant(vec![Part::text(text)]),
                false => Message::assistant(text),
            });
        answer
    }

    /// The number of a picture's features, which are computed where they are not known.
    fn feature(&mut self, image: &RgbImage) -> Result<usize, Error> {
        let known = |picture: &Picture| picture.image == *image;
        if let Some(index) = self.features.iter().position(known) {
            return Ok(index);
        }
        let processed = self.pretrained.processor.process_image(image)?;
        let (device, dtype) = (self.pretrained.device(), self.pretrained.dtype());
        let batch = ImageBatch::new([&processed], device, dtype.into());
        self.features.push(Picture {
            image: image.clone(),
            tokens: self.pretrained.model.encode_images(&batch),
        });
        Ok(self.features.len() - 1)
    }

    /// The visual tokens of all pictures, where a position from `first` on reads any.
    fn visual(&self, sequence: &Sequence, first: usize) -> Option<Images> {
        let is_visual = |slot: &vlm_core::Slot| slot.source != Source::Text;
        sequence.slots[first..].iter().any(is_visual).then(|| {
            let shown = self.shown.iter();
            let tokens = shown.map(|index| self.features[*index].tokens.clone());
            Images::Tokens(side_by_side(tokens.collect()))
        })
    }

    fn places(&self, sequence: &Sequence) -> Vec<Place> {
        // Crop of the conversation -> picture and its first crop.
        let mut crops = Vec::new();
        for index in &self.shown {
            let first = crops.len();
            let count = self.features[*index].tokens.dims()[0];
            crops.extend(std::iter::repeat_n((*index, first), count));
        }
        let mut latest = None;
        let place = |slot: &vlm_core::Slot| {
            let (source, picture) = match slot.source {
                Source::Visual { crop, token } => {
                    let (picture, first) = crops[crop];
                    latest = Some(picture);
                    let crop = crop - first;
                    (Source::Visual { crop, token }, Some(picture))
                }
                Source::Separator(_) => (slot.source, latest),
                Source::Text => (slot.source, None),
            };
            Place {
                id: slot.id,
                source,
                picture,
            }
        };
        sequence.slots.iter().map(place).collect()
    }
}

/// Visual tokens of pictures as one batch; those of fewer tokens end with zeros, which no source points at.
fn side_by_side(tokens: Vec<Tensor<3>>) -> Tensor<3> {
    let most = tokens.iter().map(|tokens| tokens.dims()[1]).max();
    let filled = tokens.into_iter().map(|tokens| {
        let [crops, count, size] = tokens.dims();
        let missing = most.unwrap_or(count) - count;
        match missing {
            0 => tokens,
            _ => {
                let options = (&tokens.device(), tokens.dtype());
                let zeros = Tensor::zeros([crops, missing, size], options);
                Tensor::cat(vec![tokens, zeros], 1)
            }
        }
    });
    Tensor::cat(filled.collect(), 0)
}

fn empty_cache(pretrained: &Pretrained) -> KvCache {
    let positions = pretrained.config.text().position_embedding();
    KvCache::new(positions.max_position_embeddings())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn pictures_of_fewer_tokens_are_filled_up() {
        let device = Device::flex();
        let picture = |crops, tokens| Tensor::<3>::ones([crops, tokens, 2], &device);
        let together = side_by_side(vec![picture(1, 1), picture(2, 3)]);
        assert_eq!(together.dims(), [3, 3, 2]);
        let values: Vec<f32> = together.into_data().try_into_vec().unwrap();
        assert_eq!(values[..6], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(values[6..], [1.0; 12]);
    }
}
