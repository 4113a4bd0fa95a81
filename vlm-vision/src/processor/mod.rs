//! From a decoded picture to the numbers that an encoder reads, on the host.
//!
//! The reference is transformers 5.23 with its torchvision backend, whose results are met bit for bit,
//! in bytes and in `f32`. (Its Pillow backend differs from it by up to 15 levels.) Steps are plain
//! functions and types, one a file, from which processors are composed:
//!
//! | step | item |
//! |---|---|
//! | the size asked for | [`SizeRule`] |
//! | resizing | [`resize`](fn@resize), [`Resample`] |
//! | padding with a colour, or planes with zeros | [`pad`](fn@pad), [`pad_to_square`], [`pad_planes`] |
//! | cutting | [`crop`](fn@crop), [`center_crop`] |
//! | bytes to numbers | [`Normalize`] |
//! | the grid of tiles | [`best_resolution`], [`size_within`] |
//!
//! [`PlainProcessor`] is the composition that CLIP, LLaVA-1.5 and SigLIP share, [`TilingProcessor`] that of
//! Idefics3 and SmolVLM, [`AnyResProcessor`] that of LLaVA-NeXT: an overview and tiles, each of which then passes a
//! `PlainProcessor`. [`ShrinkProcessor`] is Fuyu's, in which pictures keep their sizes.
//!
//! Two deviations from the reference, by name: pictures of more than [`MAX_PIXELS`] pixels after a step
//! are refused instead of exhausting the memory, and resizing to 1 × 1, on which torch 2.15 fails with
//! an internal assertion, gives the pixel.

mod anyres;
mod class;
mod crop;
mod file;
mod normalize;
mod pad;
mod picture;
mod pinpoints;
mod plain;
mod plain_keys;
mod resample;
mod resize;
mod shrink;
mod shrink_keys;
mod size_rule;
mod taps;
mod tiling;
mod tiling_keys;

pub use anyres::AnyResProcessor;
pub use class::ProcessorClass;
pub use crop::{center_crop, crop};
pub use file::ProcessorFile;
pub use normalize::Normalize;
pub use pad::{Margins, pad, pad_planes, pad_to_square};
pub use picture::{MAX_PIXELS, size_of};
pub use pinpoints::{best_resolution, size_within};
pub use plain::PlainProcessor;
pub use resample::Resample;
pub use resize::resize;
pub use shrink::ShrinkProcessor;
pub use size_rule::SizeRule;
pub use tiling::TilingProcessor;
