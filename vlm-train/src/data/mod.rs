//! From files to the micro-batches of a step.
//!
//! ```text
//! file ── RecordSource ── Record ── Prepare ── Sample ── Loader ── Vec<MicroBatch>
//!         open(path)      text,     the        ids,      Order,
//!                         paths     model's    labels,   threads,
//!                                   processor  pixels    packing
//! ```
//!
//! A file is one of three containers ([`open`] tells them apart): a JSON object a line, one JSON list, Parquet (with
//! the feature `parquet`; also a folder of shards). A record is one of these, by its keys, whatever it lies in:
//!
//! | keys | form | |
//! |---|---|---|
//! | `messages`, `images` | TRL's conversation | `content` is a string or a list of parts |
//! | `prompt`, `completion`, `images` | TRL's prompt and completion | two strings, or two lists of messages |
//! | `text`, `images` | TRL's text | used as it is |
//! | `conversations`, `image` | LLaVA's | `<image>` stands in the human's text |
//!
//! Pictures are paths relative to the file's folder or [another](open_with_images), or bytes in Parquet. They are given to the image parts of the messages in
//! order; messages of plain strings without any part get them before the first text of the user, as in TRL:
//!
//! ```text
//! {"images": ["cup.png"], "messages": [{"role": "user", "content": "What is it?"},
//!                                      {"role": "assistant", "content": "A cup."}]}
//! -> user [image, "What is it?"]   assistant "A cup."   pictures cup.png
//! ```
//!
//! Other keys are not read. `tools` and `chat_template_kwargs`, which would change the text, are refused.
//!
//! # Any other data
//!
//! Implement [`RecordSource`] for records that lie elsewhere, or [`Dataset`] for samples that are made in another way:
//!
//! ```
//! use vlm_core::{Error, Sequence};
//! use vlm_train::{Sample, data::{Dataset, Hints, Loader, LoaderConfig}};
//!
//! /// Sequences that count.
//! struct Counting(usize);
//!
//! impl Dataset for Counting {
//!     fn len(&self) -> usize {
//!         self.0
//!     }
//!
//!     fn sample(&self, index: usize) -> Result<Option<Sample>, Error> {
//!         let ids: Vec<u32> = (0..index as u32 + 2).collect();
//!         Ok(Some(Sample::new(Sequence::text(&ids), Vec::new(), |_| true)))
//!     }
//!
//!     fn hints(&self, index: usize) -> Hints {
//!         Hints { pictures: 0, words: index }
//!     }
//! }
//!
//! let config = LoaderConfig { accumulation: 2, ..LoaderConfig::new(2) };
//! let mut loader = Loader::new(Counting(6), config)?;
//! assert_eq!(loader.steps_per_epoch(), 2);
//! let step = loader.step(0)?;
//! assert_eq!(step.len(), 2);
//! assert_eq!(step[1].targets(), [1, 2, 3, -100, -100, 1, 2, 3, 4, -100]);
//! # Ok::<(), Error>(())
//! ```

mod array;
mod conversations;
mod dataset;
mod form;
mod jsonl;
mod loader;
mod open;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod source;
mod spans;
mod trl;
mod workers;

pub use dataset::{Dataset, Labels, Prepare, Samples, TooLong};
pub use loader::{BadSamples, Loader, LoaderConfig};
pub use open::{open, open_with_images};
pub use record::{Body, Hints, Picture, Place, Record};
pub use source::RecordSource;
