use burn::{
    config::Config,
    module::{Module, Param},
    nn::Initializer,
    tensor::{
        Device, Tensor,
        module::interpolate,
        ops::{InterpolateMode, InterpolateOptions},
        s,
    },
};
use vlm_core::{
    ImageBatch, ImageEncoder, Size,
    nn::{
        Activation, Attention, AttentionConfig, AttentionInput, DeviceMask, Linear, LinearConfig,
        Mlp, MlpConfig, Norm, NormConfig,
    },
};

use crate::patches;

/// Which hidden states of an encoder become features.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct FeatureSelection {
    /// Hidden states by number: 0 is the embeddings, `n` the output of layer `n`, negative numbers count from
    /// the last. Several are joined on the last dimension.
    pub layers: Vec<isize>,
    /// Whether the first token of each is dropped: strategy `default`, where `full` keeps it.
    pub drop_first_token: bool,
    /// Whether each passes the encoder's last norm.
    #[config(default = false)]
    pub post_layernorm: bool,
}

/// Configuration of a [`Vit`], in the names of a `config.json`.
#[derive(Config, Debug)]
pub struct VitConfig {
    /// Size of the hidden states.
    pub hidden_size: usize,
    /// Size between the projections of an MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of heads.
    pub num_attention_heads: usize,
    /// Height and width that the position embeddings are made for.
    pub image_size: usize,
    /// Height and width of a patch.
    pub patch_size: usize,
    /// Activation of the MLP.
    pub hidden_act: Activation,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
    /// Whether a learned token stands before the patches.
    pub class_token: bool,
    /// Whether the embeddings are normalised before the first layer.
    pub pre_norm: bool,
    /// Whether the projection of patches has a bias.
    pub patch_bias: bool,
    /// Which hidden states become features.
    pub features: FeatureSelection,
}

/// A vision transformer ([Dosovitskiy et al. 2021](https://arxiv.org/abs/2010.11929)).
///
/// The towers of CLIP and SigLIP differ in their numbers alone: see [`clip`](crate::clip) and
/// [`siglip`](crate::siglip). Layers above the highest selected one are not computed.
#[derive(Module, Debug)]
pub struct Vit {
    /// `[3 · patch_size², hidden]`.
    pub patch_embedding: Linear,
    /// `[hidden]`.
    pub class_embedding: Option<Param<Tensor<1>>>,
    /// `[positions, hidden]`, the class token's first.
    pub position_embedding: Param<Tensor<2>>,
    /// Before the first layer.
    pub pre_layernorm: Option<Norm>,
    /// One after the other.
    pub layers: Vec<VitLayer>,
    /// Of the features, where their selection says so; checkpoints have it in any case.
    pub post_layernorm: Norm,
    patch_size: usize,
    #[module(skip)]
    features: FeatureSelection,
}

/// One layer of a [`Vit`].
#[derive(Module, Debug)]
pub struct VitLayer {
    /// Before attention.
    pub layer_norm1: Norm,
    /// Attention of all tokens to all.
    pub self_attn: Attention,
    /// Before the MLP.
    pub layer_norm2: Norm,
    /// The plain MLP.
    pub mlp: Mlp,
}

impl FeatureSelection {
    /// The numbers of the hidden states, counted from the embeddings.
    ///
    /// # Panics
    ///
    /// When one does not exist among `num_hidden_layers + 1`.
    pub fn hidden_states(&self, num_hidden_layers: usize) -> Vec<usize> {
        let count = num_hidden_layers as isize + 1;
        let index = |layer: &isize| {
            let index = if *layer < 0 { layer + count } else { *layer };
            assert!(
                (0..count).contains(&index),
                "hidden state {layer} does not exist among {count}"
            );
            index as usize
        };
        self.layers.iter().map(index).collect()
    }
}

impl VitConfig {
    /// Tokens that a crop of `size` becomes.
    pub fn num_tokens(&self, size: Size) -> usize {
        let patches = (size.height / self.patch_size) * (size.width / self.patch_size);
        let tokens = patches + usize::from(self.class_token);
        tokens.saturating_sub(usize::from(self.features.drop_first_token))
    }

    /// Size of a feature: the hidden size for each selected hidden state.
    pub fn feature_size(&self) -> usize {
        self.hidden_size * self.features.layers.len()
    }

    /// An encoder with fresh weights.
    pub fn init(&self, device: &Device) -> Vit {
        let hidden = self.hidden_size;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let grid = self.image_size / self.patch_size;
        let positions = grid * grid + usize::from(self.class_token);
        let norm = || NormConfig::layer(hidden, self.layer_norm_eps).init(device);
        let layer = |_| VitLayer {
            layer_norm1: norm(),
            self_attn: AttentionConfig::new(hidden, self.num_attention_heads).init(device),
            layer_norm2: norm(),
            mlp: MlpConfig::new(hidden, self.intermediate_size, self.hidden_act).init(device),
        };
        Vit {
            patch_embedding: LinearConfig::new(3 * self.patch_size * self.patch_size, hidden)
                .with_bias(self.patch_bias)
                .init(device),
            class_embedding: self.class_token.then(|| normal.init([hidden], device)),
            position_embedding: normal.init([positions, hidden], device),
            pre_layernorm: self.pre_norm.then(norm),
            layers: (0..self.num_hidden_layers).map(layer).collect(),
            post_layernorm: norm(),
            patch_size: self.patch_size,
            features: self.features.clone(),
        }
    }
}

impl VitLayer {
    /// `[crops, tokens, hidden] -> [crops, tokens, hidden]`
    fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let mask = DeviceMask::none();
        let input = AttentionInput::new(self.layer_norm1.forward(hidden.clone()), &mask);
        let hidden = hidden + self.self_attn.forward(input);
        let normed = self.layer_norm2.forward(hidden.clone());
        hidden + self.mlp.forward(normed)
    }
}

impl Vit {
    /// Patch, class and position embeddings, normalised where the model does so: hidden state 0.
    ///
    /// Pictures of another size than the position embeddings were made for get them interpolated.
    ///
    /// # Shapes
    /// - pixels: `[crops, 3, height, width]`
    /// - output: `[crops, tokens, hidden_size]`
    pub fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [crops, _, height, width] = pixels.dims();
        let grid = [height / self.patch_size, width / self.patch_size];
        let mut tokens = self
            .patch_embedding
            .forward(patches(pixels, self.patch_size));
        if let Some(class) = &self.class_embedding {
            let class = class.val().unsqueeze::<3>();
            let [_, _, hidden] = class.dims();
            tokens = Tensor::cat(vec![class.expand([crops, 1, hidden]), tokens], 1);
        }
        tokens = tokens + self.positions(grid).unsqueeze();
        match &self.pre_layernorm {
            Some(norm) => norm.forward(tokens),
            None => tokens,
        }
    }

    // `[tokens, hidden]` for a grid of patches.
    fn positions(&self, [rows, columns]: [usize; 2]) -> Tensor<2> {
        let all = self.position_embedding.val();
        let class = usize::from(self.class_embedding.is_some());
        let [count, hidden] = all.dims();
        let side = (count - class).isqrt();
        if [rows, columns] == [side, side] {
            return all;
        }
        // As torch's bicubic interpolation without antialiasing, which the reference uses here.
        let grid = all
            .clone()
            .slice(s![class.., ..])
            .reshape([1, side, side, hidden])
            .permute([0, 3, 1, 2]);
        let options = InterpolateOptions::new(InterpolateMode::Bicubic)
            .with_align_corners(false)
            .with_output_size([rows, columns]);
        let patches = interpolate(grid, options)
            .permute([0, 2, 3, 1])
            .reshape([rows * columns, hidden]);
        Tensor::cat(vec![all.slice(s![..class, ..]), patches], 0)
    }
}

impl ImageEncoder for Vit {
    /// # Panics
    ///
    /// When crops differ in size.
    fn forward(&self, images: &ImageBatch) -> Tensor<3> {
        assert!(
            images.sizes.iter().all(|size| *size == images.sizes[0]),
            "this encoder takes crops of one size"
        );
        let selected = self.features.hidden_states(self.layers.len());
        let deepest = selected.iter().copied().max().unwrap_or(0);
        let mut hidden = self.embed(images.pixels.clone());
        let mut kept = vec![None; deepest + 1];
        for (index, slot) in kept.iter_mut().enumerate() {
            if index > 0 {
                hidden = self.layers[index - 1].forward(hidden);
            }
            if selected.contains(&index) {
                *slot = Some(match self.features.post_layernorm {
                    true => self.post_layernorm.forward(hidden.clone()),
                    false => hidden.clone(),
                });
            }
        }
        let first = usize::from(self.features.drop_first_token);
        let features = selected.iter().map(|index| {
            let state = kept[*index].clone().expect("kept above");
            state.slice(s![.., first.., ..])
        });
        Tensor::cat(features.collect(), 2)
    }
}
