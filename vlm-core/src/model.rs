use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};

use crate::{
    Decoder, DecoderInput, ImageBatch, ImageEncoder, Positions, Projector, Sequence, Source,
    nn::{AttentionMask, KvCache},
    splice,
};

/// An encoder, a projector and a decoder composed into one model.
///
/// ```text
/// images ── encoder ── projector ──┐
///                                  splice ── decoder ── hidden states
/// ids ───────────────── embed ─────┘
/// ```
#[derive(Module, Debug)]
pub struct Vlm<E: ImageEncoder, P: Projector, D: Decoder> {
    /// Pictures to features.
    pub encoder: E,
    /// Features to visual tokens.
    pub projector: P,
    /// Embeddings to hidden states.
    pub decoder: D,
    /// `[count, hidden_size]`: learned vectors between visual tokens (`image_newline`), where a family has them.
    pub separators: Option<Param<Tensor<2>>>,
}

/// The pictures of a batch: as pixels, or as visual tokens that were made before.
#[derive(Clone, Debug)]
pub enum Images {
    /// To be encoded and projected.
    Pixels(ImageBatch),
    /// `[crops, tokens, d_vision]`, to be projected: what [`VisionLanguageModel::image_features`] returned.
    Features(Tensor<3>),
    /// `[crops, tokens, hidden_size]`, what [`VisionLanguageModel::encode_images`] returned.
    Tokens(Tensor<3>),
}

/// What a vision-language model reads.
#[derive(Clone, Debug)]
pub struct VlmInput {
    /// `[batch, seq]`; ids of visual positions are not read.
    pub ids: Tensor<2, Int>,
    /// The pictures of all rows, in order.
    pub images: Option<Images>,
    /// `batch · seq` sources, crops counted over the whole batch; unread without pictures.
    pub sources: Vec<Source>,
    /// `[axes, batch, seq]`.
    pub positions: Positions,
    /// Over all positions, cached ones included.
    pub mask: AttentionMask,
}

/// Anything that turns text and pictures into scores of next tokens: what generation and training drive.
///
/// Every [`Decoder`] is one that takes no pictures.
pub trait VisionLanguageModel: Module {
    /// Pictures to visual tokens.
    ///
    /// # Shapes
    /// - images: `[crops, 3, height, width]`
    /// - output: `[crops, tokens, hidden_size]`
    ///
    /// # Panics
    ///
    /// When the model takes no pictures.
    fn encode_images(&self, images: &ImageBatch) -> Tensor<3>;

    /// Pictures to what the encoder makes of them, before the projector; `None` without an encoder.
    ///
    /// # Shapes
    /// - images: `[crops, 3, height, width]`
    /// - output: `[crops, tokens, d_vision]`
    fn image_features(&self, images: &ImageBatch) -> Option<Tensor<3>> {
        let _ = images;
        None
    }

    /// Text and pictures to hidden states, `[batch, seq] -> [batch, seq, hidden_size]`.
    ///
    /// # Panics
    ///
    /// When a source points past the visual tokens, or the cache is full.
    fn forward(&self, input: VlmInput, cache: Option<&mut KvCache>) -> Tensor<3>;

    /// Hidden states to scores, `[batch, seq, hidden_size] -> [batch, seq, vocab_size]`.
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;
}

impl VlmInput {
    /// A batch of sequences, shorter ones padded on the left.
    ///
    /// ```text
    /// sequences [[5 6 7] [8]]   ->   ids [[5 6 7] [0 0 8]]   positions [[0 1 2] [0 0 0]]
    /// ```
    ///
    /// `images` holds the pictures of all the sequences, in order.
    ///
    /// # Panics
    ///
    /// When there is no sequence.
    pub fn left_padded(sequences: &[Sequence], images: Option<Images>, device: &Device) -> Self {
        let seq = sequences.iter().map(Sequence::len).max().unwrap_or(0);
        let padding: Vec<usize> = sequences.iter().map(|s| seq - s.len()).collect();
        let mut ids = Vec::with_capacity(sequences.len() * seq);
        let mut sources = Vec::with_capacity(ids.capacity());
        let mut positions = Vec::with_capacity(sequences.len());
        let mut first_crop = 0;
        for (sequence, padding) in sequences.iter().zip(&padding) {
            // Nothing reads what stands at padding or under a picture, so any row of the table serves.
            ids.extend(std::iter::repeat_n(0, *padding));
            sources.extend(std::iter::repeat_n(Source::Text, *padding));
            for slot in &sequence.slots {
                ids.push(match slot.source {
                    Source::Text => slot.id,
                    _ => 0,
                });
                sources.push(slot.source.in_batch(first_crop));
            }
            first_crop += sequence.crops;
            let row = (0..seq).map(|i| i.saturating_sub(*padding) as u32);
            positions.push(row.collect());
        }
        let shape = [sequences.len(), seq];
        Self {
            ids: ids_on(&ids, shape, device),
            images,
            sources,
            positions: Positions::rows(&positions),
            mask: AttentionMask::left_padded(seq, &padding),
        }
    }

    /// Rows to learn from, each of one sequence or of several that do not see one another; shorter rows are
    /// padded on the right, where nothing looks.
    ///
    /// ```text
    /// rows [[5 6] [7]], [[8]]   ->   ids [[5 6 7] [8 0 0]]   positions [[0 1 0] [0 0 0]]
    /// ```
    ///
    /// `images` holds the pictures of all the sequences, in order.
    ///
    /// # Panics
    ///
    /// When there is no row.
    pub fn packed(rows: &[Vec<Sequence>], images: Option<Images>, device: &Device) -> Self {
        let length = |row: &Vec<Sequence>| row.iter().map(Sequence::len).sum::<usize>();
        let seq = rows.iter().map(length).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(rows.len() * seq);
        let mut sources = Vec::with_capacity(ids.capacity());
        let mut positions = Vec::with_capacity(rows.len());
        let mut segments = Vec::with_capacity(rows.len());
        let mut first_crop = 0;
        for (index, row) in rows.iter().enumerate() {
            let mut row_positions = Vec::with_capacity(seq);
            let mut row_segments = Vec::with_capacity(seq);
            for (document, sequence) in row.iter().enumerate() {
                for slot in &sequence.slots {
                    ids.push(match slot.source {
                        Source::Text => slot.id,
                        _ => 0,
                    });
                    sources.push(slot.source.in_batch(first_crop));
                }
                first_crop += sequence.crops;
                row_positions.extend(0..sequence.len() as u32);
                row_segments.extend(std::iter::repeat_n(document as u32 + 1, sequence.len()));
            }
            ids.resize((index + 1) * seq, 0);
            sources.resize((index + 1) * seq, Source::Text);
            row_positions.resize(seq, 0);
            // Padding is a document of its own: what stands there is finite and not looked at.
            row_segments.resize(seq, row.len() as u32 + 1);
            positions.push(row_positions);
            segments.push(row_segments);
        }
        let mask = match rows.iter().all(|row| row.len() < 2) {
            true => AttentionMask::causal(),
            false => {
                let blocks = vec![(0..seq as u32).collect(); rows.len()];
                AttentionMask::from_rows(segments, blocks)
            }
        };
        Self {
            ids: ids_on(&ids, [rows.len(), seq], device),
            images,
            sources,
            positions: Positions::rows(&positions),
            mask,
        }
    }

    /// One more generated token for each row of a cached batch.
    pub fn step(ids: &[u32], positions: &[u32], mask: AttentionMask, device: &Device) -> Self {
        let rows: Vec<Vec<u32>> = positions.iter().map(|position| vec![*position]).collect();
        Self {
            ids: ids_on(ids, [ids.len(), 1], device),
            images: None,
            sources: Vec::new(),
            positions: Positions::rows(&rows),
            mask,
        }
    }
}

fn ids_on(ids: &[u32], shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    Tensor::from_data(TensorData::new(ids, shape), device)
}

impl<E: ImageEncoder, P: Projector, D: Decoder> Vlm<E, P, D> {
    /// A model without separators.
    pub fn new(encoder: E, projector: P, decoder: D) -> Self {
        Self {
            encoder,
            projector,
            decoder,
            separators: None,
        }
    }

    /// Adds learned vectors, `[count, hidden_size]`, that token layouts may put between visual tokens.
    #[must_use]
    pub fn with_separators(mut self, separators: Param<Tensor<2>>) -> Self {
        self.separators = Some(separators);
        self
    }
}

impl<E: ImageEncoder, P: Projector, D: Decoder> VisionLanguageModel for Vlm<E, P, D> {
    fn encode_images(&self, images: &ImageBatch) -> Tensor<3> {
        self.projector.forward(self.encoder.forward(images))
    }

    fn image_features(&self, images: &ImageBatch) -> Option<Tensor<3>> {
        Some(self.encoder.forward(images))
    }

    fn forward(&self, input: VlmInput, cache: Option<&mut KvCache>) -> Tensor<3> {
        let text = self.decoder.embed(input.ids);
        let embeds = match input.images {
            None => text,
            Some(images) => {
                let visual = match images {
                    Images::Pixels(images) => self.encode_images(&images),
                    Images::Features(features) => self.projector.forward(features),
                    Images::Tokens(tokens) => tokens,
                };
                let rows = source_rows(&input.sources, text.dims(), visual.dims());
                let rows = Tensor::from_data(TensorData::from(&rows[..]), &text.device());
                let separators = self.separators.as_ref().map(Param::val);
                splice(text, visual, separators, rows)
            }
        };
        let input = DecoderInput {
            embeds,
            positions: input.positions,
            mask: input.mask,
        };
        self.decoder.forward(input, cache)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.decoder.logits(hidden)
    }
}

impl<D: Decoder> VisionLanguageModel for D {
    fn encode_images(&self, _images: &ImageBatch) -> Tensor<3> {
        panic!("a decoder alone takes no pictures")
    }

    fn forward(&self, input: VlmInput, cache: Option<&mut KvCache>) -> Tensor<3> {
        assert!(input.images.is_none(), "a decoder alone takes no pictures");
        let input = DecoderInput {
            embeds: self.embed(input.ids),
            positions: input.positions,
            mask: input.mask,
        };
        Decoder::forward(self, input, cache)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        Decoder::logits(self, hidden)
    }
}

/// Row numbers for [`splice`].
fn source_rows(sources: &[Source], text: [usize; 3], visual: [usize; 3]) -> Vec<i64> {
    let [batch, seq, _] = text;
    let [crops, tokens, _] = visual;
    assert_eq!(sources.len(), batch * seq, "every position needs a source");
    let first_visual = batch * seq;
    let row = |(position, source): (usize, &Source)| match *source {
        Source::Text => position,
        Source::Visual { crop, token } => {
            assert!(
                crop < crops && token < tokens,
                "token {token} of crop {crop} does not exist: there are {crops} crops of {tokens} tokens"
            );
            first_visual + crop * tokens + token
        }
        Source::Separator(index) => first_visual + crops * tokens + index,
    };
    let rows = sources.iter().enumerate().map(row);
    rows.map(|row| row as i64).collect()
}
