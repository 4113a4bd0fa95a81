use burn::{
    config::Config,
    module::Module,
    nn::{Embedding, EmbeddingConfig, Initializer},
    tensor::{Device, Int, Tensor},
};
use vlm_core::{
    Decoder, DecoderInput,
    nn::{
        Activation, Attention, AttentionConfig, AttentionInput, DeviceMask, KvCache, LayerCache,
        Linear, LinearConfig, Mlp, MlpConfig, Norm, NormConfig, NormKind, RotaryTable, table_rows,
        table_scores,
    },
};

use crate::PositionEmbedding;

/// Configuration of a [`CausalLm`], in the names of a `config.json`.
#[derive(Config, Debug)]
pub struct CausalLmConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Size of the hidden states.
    pub hidden_size: usize,
    /// Size between the projections of an MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values; as many as queries when absent.
    pub num_key_value_heads: Option<usize>,
    /// Size of a head; `hidden_size / num_attention_heads` when absent.
    pub head_dim: Option<usize>,
    /// Activation of the MLP.
    #[config(default = "Activation::Silu")]
    pub hidden_act: Activation,
    /// Whether the activation gates a second projection.
    #[config(default = true)]
    pub gated_mlp: bool,
    /// Which norm stands before attention, before the MLP and after the last layer.
    #[config(default = "NormKind::Rms")]
    pub norm: NormKind,
    /// Added to the variance in every norm: `rms_norm_eps` or `layer_norm_eps`.
    #[config(default = 1e-6)]
    pub norm_eps: f64,
    /// Whether each head of queries and keys is normalised.
    #[config(default = false)]
    pub qk_norm: bool,
    /// Whether the heads' joint output and the MLP's activations are normalised
    /// ([Wang et al. 2022](https://arxiv.org/abs/2210.06423)).
    #[config(default = false)]
    pub sub_norm: bool,
    /// How positions enter; rotary with base 10000 when absent.
    pub positions: Option<PositionEmbedding>,
    /// Factor on the embeddings of tokens and pictures alike.
    pub embed_scale: Option<f64>,
    /// Whether query, key and value projections have biases.
    #[config(default = false)]
    pub qkv_bias: bool,
    /// Whether the output projection of attention has one.
    #[config(default = false)]
    pub attention_output_bias: bool,
    /// Whether the projections of the MLP have biases.
    #[config(default = false)]
    pub mlp_bias: bool,
    /// Whether the head is the embedding table.
    #[config(default = false)]
    pub tie_word_embeddings: bool,
    /// Sliding window of each layer; none anywhere when empty.
    #[config(default = "Vec::new()")]
    pub sliding_windows: Vec<Option<usize>>,
}

/// A decoder-only language model: pre-norm layers of attention and an MLP.
///
/// Llama ([Touvron et al. 2023](https://arxiv.org/abs/2302.13971)), Mistral
/// ([Jiang et al. 2023](https://arxiv.org/abs/2310.06825)), Qwen2
/// ([Yang et al. 2024](https://arxiv.org/abs/2407.10671)), Persimmon and the decoder of Kosmos-2
/// ([Peng et al. 2023](https://arxiv.org/abs/2306.14824)) differ in their numbers alone.
#[derive(Module, Debug)]
pub struct CausalLm {
    /// `[vocab, hidden]`.
    pub embed_tokens: Embedding,
    /// One after the other.
    pub layers: Vec<DecoderLayer>,
    /// After the last layer.
    pub norm: Norm,
    /// `[hidden, vocab]`; absent when the embedding table serves.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    positions: PositionEmbedding,
    embed_scale: Option<f64>,
    #[module(skip)]
    sliding_windows: Vec<Option<usize>>,
}

/// One layer of a [`CausalLm`].
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Before attention.
    pub input_layernorm: Norm,
    /// Attention to earlier positions.
    pub self_attn: Attention,
    /// Before the MLP.
    pub post_attention_layernorm: Norm,
    /// The gated MLP.
    pub mlp: Mlp,
}

impl CausalLmConfig {
    /// Size of a head.
    pub fn head_size(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Values that the cache holds for one position: keys and values of all layers.
    pub fn cache_values_per_position(&self) -> usize {
        let heads = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        2 * self.num_hidden_layers * heads * self.head_size()
    }

    /// How positions enter.
    pub fn position_embedding(&self) -> PositionEmbedding {
        let rotary = || PositionEmbedding::rotary(self.head_size());
        self.positions.clone().unwrap_or_else(rotary)
    }

    /// A model with fresh weights.
    ///
    /// # Panics
    ///
    /// When heads do not divide as they must, or windows are given for another number of layers.
    pub fn init(&self, device: &Device) -> CausalLm {
        let mut sliding_windows = self.sliding_windows.clone();
        if sliding_windows.is_empty() {
            sliding_windows = vec![None; self.num_hidden_layers];
        }
        assert_eq!(
            sliding_windows.len(),
            self.num_hidden_layers,
            "sliding_windows has an entry for each layer"
        );
        CausalLm {
            embed_tokens: EmbeddingConfig::new(self.vocab_size, self.hidden_size)
                .with_initializer(Initializer::Normal {
                    mean: 0.0,
                    std: 0.02,
                })
                .init(device),
            layers: (0..self.num_hidden_layers)
                .map(|_| self.init_layer(device))
                .collect(),
            norm: self.init_norm(device),
            lm_head: (!self.tie_word_embeddings).then(|| {
                LinearConfig::new(self.hidden_size, self.vocab_size)
                    .with_bias(false)
                    .init(device)
            }),
            positions: self.position_embedding(),
            embed_scale: self.embed_scale,
            sliding_windows,
        }
    }

    fn norm_of(&self, size: usize) -> NormConfig {
        match self.norm {
            NormKind::Layer => NormConfig::layer(size, self.norm_eps),
            NormKind::Rms => NormConfig::rms(size, self.norm_eps),
        }
    }

    fn init_norm(&self, device: &Device) -> Norm {
        self.norm_of(self.hidden_size).init(device)
    }

    fn init_layer(&self, device: &Device) -> DecoderLayer {
        let sub_norm = |size| self.sub_norm.then(|| self.norm_of(size));
        DecoderLayer {
            input_layernorm: self.init_norm(device),
            self_attn: AttentionConfig::new(self.hidden_size, self.num_attention_heads)
                .with_num_key_value_heads(self.num_key_value_heads)
                .with_head_dim(self.head_dim)
                .with_qkv_bias(self.qkv_bias)
                .with_output_bias(self.attention_output_bias)
                .with_qk_norm(self.qk_norm.then(|| self.norm_of(self.head_size())))
                .with_inner_norm(sub_norm(self.num_attention_heads * self.head_size()))
                .init(device),
            post_attention_layernorm: self.init_norm(device),
            mlp: MlpConfig::new(self.hidden_size, self.intermediate_size, self.hidden_act)
                .with_gated(self.gated_mlp)
                .with_bias(self.mlp_bias)
                .with_inner_norm(sub_norm(self.intermediate_size))
                .init(device),
        }
    }
}

impl DecoderLayer {
    /// `[batch, seq, hidden] -> [batch, seq, hidden]`
    fn forward(
        &self,
        hidden: Tensor<3>,
        rotary: Option<&RotaryTable>,
        mask: &DeviceMask,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let input = AttentionInput::new(self.input_layernorm.forward(hidden.clone()), mask)
            .with_rotary(rotary)
            .with_cache(cache);
        let hidden = hidden + self.self_attn.forward(input);
        let normed = self.post_attention_layernorm.forward(hidden.clone());
        hidden + self.mlp.forward(normed)
    }
}

impl Decoder for CausalLm {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        table_rows(self.embed_tokens.weight.val(), ids)
    }

    fn forward(&self, input: DecoderInput, mut cache: Option<&mut KvCache>) -> Tensor<3> {
        let DecoderInput {
            embeds: mut hidden,
            positions,
            mask,
        } = input;
        let device = hidden.device();
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        let seq = hidden.dims()[1];
        if let Some(scale) = self.embed_scale {
            hidden = hidden.mul_scalar(scale);
        }
        let mut rotary = None;
        match &self.positions {
            PositionEmbedding::Rotary(config) => {
                rotary = Some(config.init().table(&positions, &device, hidden.dtype()));
            }
            PositionEmbedding::Sinusoidal(config) => {
                hidden = hidden.clone() + config.table(&positions, &device, hidden.dtype());
            }
        }
        // Layers with the same window share a mask.
        let mut masks: Vec<(Option<usize>, DeviceMask)> = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let window = self.sliding_windows[index];
            let known = masks.iter().position(|(other, _)| *other == window);
            let known = known.unwrap_or_else(|| {
                masks.push((window, mask.on_device(past, seq, window, &device)));
                masks.len() - 1
            });
            let layer_cache = cache.as_mut().map(|cache| cache.layer(index));
            hidden = layer.forward(hidden, rotary.as_ref(), &masks[known].1, layer_cache);
        }
        self.norm.forward(hidden)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => table_scores(hidden, self.embed_tokens.weight.val()),
        }
    }
}
