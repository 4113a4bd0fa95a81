use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Tensor},
};
use vlm_kernels::attention;

use super::{DeviceMask, LayerCache, Linear, LinearConfig, Norm, NormConfig, RotaryTable};

/// Configuration of [`Attention`].
#[derive(Config, Debug)]
pub struct AttentionConfig {
    /// Size of the input and the output.
    pub hidden_size: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values (grouped queries); as many as queries when absent.
    pub num_key_value_heads: Option<usize>,
    /// Size of a head; `hidden_size / num_attention_heads` when absent.
    pub head_dim: Option<usize>,
    /// Whether the query, key and value projections have biases.
    #[config(default = true)]
    pub qkv_bias: bool,
    /// Whether the output projection has one.
    #[config(default = true)]
    pub output_bias: bool,
    /// Norm of each head of the queries and the keys, before rotary positions; none when absent.
    pub qk_norm: Option<NormConfig>,
    /// Norm of the heads' joint output, before the output projection; none when absent.
    pub inner_norm: Option<NormConfig>,
}

/// Multi-head attention ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)) with grouped queries
/// ([Ainslie et al. 2023](https://arxiv.org/abs/2305.13245)), rotary positions, masks and a cache.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[hidden, heads · head_dim]`.
    pub q_proj: Linear,
    /// `[hidden, kv_heads · head_dim]`.
    pub k_proj: Linear,
    /// `[hidden, kv_heads · head_dim]`.
    pub v_proj: Linear,
    /// `[heads · head_dim, hidden]`.
    pub o_proj: Linear,
    /// Of each head of the queries.
    pub q_norm: Option<Norm>,
    /// Of each head of the keys.
    pub k_norm: Option<Norm>,
    /// Before the output projection.
    pub inner_norm: Option<Norm>,
    head_dim: usize,
}

/// What [`Attention::forward`] reads.
#[derive(Debug)]
pub struct AttentionInput<'a> {
    hidden: Tensor<3>,
    mask: &'a DeviceMask,
    context: Option<Tensor<3>>,
    rotary: Option<&'a RotaryTable>,
    cache: Option<&'a mut LayerCache>,
}

impl<'a> AttentionInput<'a> {
    /// Attention of `hidden`, `[batch, seq, hidden_size]`, to itself.
    pub fn new(hidden: Tensor<3>, mask: &'a DeviceMask) -> Self {
        Self {
            hidden,
            mask,
            context: None,
            rotary: None,
            cache: None,
        }
    }

    /// Keys and values come from `context`, `[batch, keys, hidden_size]`.
    #[must_use]
    pub fn with_context(mut self, context: Tensor<3>) -> Self {
        self.context = Some(context);
        self
    }

    /// Queries and keys are turned by their positions.
    #[must_use]
    pub fn with_rotary(mut self, rotary: Option<&'a RotaryTable>) -> Self {
        self.rotary = rotary;
        self
    }

    /// Keys and values join those of earlier positions.
    #[must_use]
    pub fn with_cache(mut self, cache: Option<&'a mut LayerCache>) -> Self {
        self.cache = cache;
        self
    }
}

impl AttentionConfig {
    /// Attention with fresh weights.
    ///
    /// # Panics
    ///
    /// When heads do not divide as they must.
    pub fn init(&self, device: &Device) -> Attention {
        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        assert!(
            heads.is_multiple_of(kv_heads),
            "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
        );
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / heads);
        let project = |heads: usize| {
            LinearConfig::new(self.hidden_size, heads * head_dim)
                .with_bias(self.qkv_bias)
                .init(device)
        };
        Attention {
            q_proj: project(heads),
            k_proj: project(kv_heads),
            v_proj: project(kv_heads),
            o_proj: LinearConfig::new(heads * head_dim, self.hidden_size)
                .with_bias(self.output_bias)
                .init(device),
            q_norm: self.qk_norm.as_ref().map(|norm| norm.init(device)),
            k_norm: self.qk_norm.as_ref().map(|norm| norm.init(device)),
            inner_norm: self.inner_norm.as_ref().map(|norm| norm.init(device)),
            head_dim,
        }
    }
}

impl Attention {
    /// # Shapes
    /// - input: `[batch, seq, hidden_size]`
    /// - output: the same
    ///
    /// # Panics
    ///
    /// When shapes do not fit, or the cache is full.
    pub fn forward(&self, input: AttentionInput<'_>) -> Tensor<3> {
        let (q_proj, k_proj, v_proj) = (&self.q_proj, &self.k_proj, &self.v_proj);
        let projected = match input.context {
            None => Linear::forward_each([q_proj, k_proj, v_proj], input.hidden),
            Some(context) => {
                let [key, value] = Linear::forward_each([k_proj, v_proj], context);
                [q_proj.forward(input.hidden), key, value]
            }
        };
        let [mut query, mut key, mut value] = projected.map(|heads| self.split_heads(heads));
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            query = q_norm.forward(query);
            key = k_norm.forward(key);
        }
        if let Some(rotary) = input.rotary {
            query = rotary.rotate(query);
            key = rotary.rotate(key);
        }
        if let Some(cache) = input.cache {
            (key, value) = cache.append(key, value, input.mask.first_key);
        }
        let [batch, _, seq, _] = query.dims();
        let DeviceMask { hidden, causal, .. } = input.mask;
        let attended = attention(query, key, value, hidden.clone(), *causal);
        let [_, heads, _, head_dim] = attended.dims();
        let merged = attended
            .swap_dims(1, 2)
            .reshape([batch, seq, heads * head_dim]);
        self.o_proj.forward(match &self.inner_norm {
            Some(norm) => norm.forward(merged),
            None => merged,
        })
    }

    // `[batch, seq, heads · head_dim] -> [batch, heads, seq, head_dim]`
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, seq, width] = x.dims();
        x.reshape([batch, seq, width / self.head_dim, self.head_dim])
            .swap_dims(1, 2)
    }
}
