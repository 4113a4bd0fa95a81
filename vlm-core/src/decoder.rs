use burn::{
    module::{Module, ModuleDisplay},
    tensor::{Int, Tensor},
};

use crate::{
    Positions,
    nn::{AttentionMask, KvCache},
};

/// What a decoder reads: embeddings with their places and what may be seen from each.
#[derive(Clone, Debug)]
pub struct DecoderInput {
    /// `[batch, seq, hidden_size]`.
    pub embeds: Tensor<3>,
    /// `[axes, batch, seq]`.
    pub positions: Positions,
    /// Over all positions, cached ones included.
    pub mask: AttentionMask,
}

/// A language model in three steps, so that visual tokens can enter after the first and generation can leave
/// out most of the third.
pub trait Decoder: Module + ModuleDisplay {
    /// Token embeddings as the splice takes them.
    ///
    /// # Shapes
    /// - ids: `[batch, seq]`
    /// - output: `[batch, seq, hidden_size]`
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3>;

    /// Hidden states after the last norm.
    ///
    /// # Shapes
    /// - embeds: `[batch, seq, hidden_size]`
    /// - output: the same
    ///
    /// # Panics
    ///
    /// When the positions do not fit the cache; [`KvCache::reserve`] tells beforehand.
    fn forward(&self, input: DecoderInput, cache: Option<&mut KvCache>) -> Tensor<3>;

    /// Scores of every token of the vocabulary.
    ///
    /// # Shapes
    /// - hidden: `[batch, seq, hidden_size]`
    /// - output: `[batch, seq, vocab_size]`
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;
}
