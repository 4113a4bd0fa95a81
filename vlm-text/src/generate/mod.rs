mod batch;
mod beam;
mod choices;
mod config;
mod defaults;
mod filter;
mod prefill;
mod processor;
mod run;
mod sampling;
mod stop;
mod text;

pub use beam::{BeamConfig, EarlyStopping};
pub use choices::Choices;
pub use config::GenerationConfig;
pub use defaults::CheckpointDefaults;
pub use filter::{MinP, Temperature, TopK, TopP};
pub use prefill::{Prefilled, prefill, prefill_rest};
pub use processor::{
    CountPenalty, History, LogitsProcessor, MinNewTokens, NoRepeatNGram, RepetitionPenalty,
    SequenceBias,
};
pub use run::{Decoding, EndReason, Generated, NewToken, generate, generate_with};
pub use sampling::{Sampler, SamplingConfig};
pub use stop::StopFilter;
pub use text::{Answer, TextDecoding, TextPiece, generate_text};
