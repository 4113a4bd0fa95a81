//! The seams of the vlm crates: what an image encoder, a projector and a decoder are to one another, and the
//! blocks that all of them are made of.
//!
//! A vision-language model is three parts and a gather. The encoder turns pictures into features, the
//! projector turns features into visual tokens, and [`splice`] puts those tokens between the text embeddings
//! where the host decided they belong. Everything that tells one family from another (how many tokens a
//! picture takes, in which order, with which separators) is plain data made on the host, so the decoder and
//! the generic model [`Vlm`] never ask which family they serve.
//!
//! | module or item | what it is |
//! |---|---|
//! | [`ImageEncoder`], [`Projector`], [`Decoder`] | the three parts |
//! | [`Vlm`], [`VisionLanguageModel`] | their composition |
//! | [`ImageProcessor`], [`ImageTokens`] | host side: pixels and token layout |
//! | [`nn`] | the one attention, MLP, norm, rotary embedding, mask and cache |
//! | [`checkpoint`] | reading and writing Hugging Face checkpoints |
//!
//! No crate but the facade names a backend of burn: a part is created on a [`Device`](burn::tensor::Device)
//! and runs there.

pub mod checkpoint;
pub mod nn;

mod config_reader;
mod decoder;
mod encoder;
mod error;
mod image;
mod model;
mod positions;
mod projector;
mod sequence;
mod splice;

pub use config_reader::ConfigReader;
pub use decoder::{Decoder, DecoderInput};
pub use encoder::ImageEncoder;
pub use error::Error;
pub use image::{ImageBatch, ImageLayout, ImageProcessor, ProcessedImage, Size};
pub use model::{Images, VisionLanguageModel, Vlm, VlmInput};
pub use positions::Positions;
pub use projector::Projector;
pub use sequence::{ImageTokens, Sequence, Slot, Source};
pub use splice::splice;
