use std::fmt;

use burn::{
    module::Module,
    tensor::{Device, FloatDType},
};
use serde::Serialize;
use serde_json::{Value, json};
use vlm_core::Size;

use crate::{AnyConfig, Error, Processor, Prompt};

/// What a request will take, known before any weight is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Positions that each picture takes.
    pub image_tokens: Vec<usize>,
    /// Positions of the whole prompt.
    pub prompt_tokens: usize,
    /// Tokens that may be generated.
    pub max_new_tokens: usize,
    /// Positions that the model was configured for.
    pub max_position_embeddings: usize,
    /// Number of parameters.
    pub parameters: usize,
    /// Bytes of the parameters in the chosen precision.
    pub weight_bytes: usize,
    /// Bytes of the keys and values of prompt and answer.
    pub cache_bytes: usize,
}

impl Plan {
    /// Plans a request with pictures of the given sizes.
    ///
    /// # Errors
    ///
    /// When the prompt and the pictures do not match.
    pub fn new(
        config: &AnyConfig,
        processor: &Processor,
        prompt: &Prompt,
        sizes: &[Size],
        max_new_tokens: usize,
        dtype: FloatDType,
    ) -> Result<Self, Error> {
        let (sequence, image_tokens) = processor.plan(prompt, sizes)?;
        let text = config.text();
        // Parameters are made when they are first used, so this model is but their shapes.
        let parameters = config.init(&Device::default()).num_params();
        let bytes = match dtype {
            FloatDType::F16 | FloatDType::BF16 => 2,
            FloatDType::F64 => 8,
            _ => 4,
        };
        let positions = sequence.len() + max_new_tokens;
        Ok(Self {
            image_tokens,
            prompt_tokens: sequence.len(),
            max_new_tokens,
            max_position_embeddings: text.position_embedding().max_position_embeddings(),
            parameters,
            weight_bytes: parameters * bytes,
            cache_bytes: positions * text.cache_values_per_position() * bytes,
        })
    }

    /// The plan as a JSON object, its fields under their names.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|_| json!({}))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        for (index, tokens) in self.image_tokens.iter().enumerate() {
            writeln!(f, "image {:<8} {tokens:>10} tokens", index + 1)?;
        }
        writeln!(f, "prompt         {:>10} tokens", self.prompt_tokens)?;
        writeln!(f, "answer, up to  {:>10} tokens", self.max_new_tokens)?;
        let limit = self.max_position_embeddings;
        write!(f, "model length   {limit:>10} tokens")?;
        if self.prompt_tokens + self.max_new_tokens > limit {
            write!(f, " (prompt and answer may pass it)")?;
        }
        writeln!(f)?;
        let millions = self.parameters as f64 / 1e6;
        let weights = mib(self.weight_bytes);
        writeln!(
            f,
            "weights        {weights:>10.1} MiB ({millions:.1} million parameters)"
        )?;
        write!(f, "cache          {:>10.1} MiB", mib(self.cache_bytes))
    }
}
