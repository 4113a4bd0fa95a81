//! Causal language models on burn, their tokenizer, and generation.
//!
//! Llama, Mistral and Qwen2 are one model, [`CausalLm`], with different numbers: a family here is a preset, a
//! reader of its `config.json` and a key table. Generation drives any
//! [`VisionLanguageModel`](vlm_core::VisionLanguageModel), with pictures or without.
//!
//! ```
//! use burn::tensor::Device;
//! use vlm_core::Sequence;
//! use vlm_text::{CausalLmConfig, GenerationConfig, generate};
//!
//! let device = Device::default();
//! let model = CausalLmConfig::new(32, 16, 32, 2, 4).init(&device);
//! let config = GenerationConfig::new(3);
//! let answers = generate(&model, &[Sequence::text(&[1, 2, 3])], None, &config, &device).unwrap();
//! assert_eq!(answers[0].tokens.len(), 3);
//! ```

mod causal_lm;
mod generate;
mod hf;
pub mod kosmos2;
pub mod llama;
pub mod mistral;
mod position_embedding;
pub mod qwen2;
mod rope;
mod tokenizer;

pub use causal_lm::{CausalLm, CausalLmConfig, DecoderLayer};
pub use generate::{
    Answer, BeamConfig, CheckpointDefaults, Choices, CountPenalty, Decoding, EarlyStopping,
    EndReason, Generated, GenerationConfig, History, LogitsProcessor, MinNewTokens, MinP, NewToken,
    NoRepeatNGram, Prefilled, RepetitionPenalty, Sampler, SamplingConfig, SequenceBias, StopFilter,
    Temperature, TextDecoding, TextPiece, TopK, TopP, generate, generate_text, generate_with,
    prefill, prefill_rest,
};
pub use hf::{DecoderKind, decoder_from_hf};
pub use position_embedding::PositionEmbedding;
pub use tokenizer::{TextStream, TokenPlace, Tokenizer};
pub use tokenizers::AddedToken;
