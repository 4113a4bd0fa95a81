//! A prompt read in pieces with a cache gives the hidden states of the prompt read whole, wherever it is cut:
//! masks, windows and positions count cached tokens.

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{LOGITS_F32, config, devices, expected, load, relative_error};
use vlm_core::{
    Positions, VisionLanguageModel, VlmInput,
    nn::{AttentionMask, KvCache},
};

fn check(case: &str, file: &str) {
    let (expected, _) = expected(case);
    let ids = &expected.variants[0].requests[0].prompt_tokens;
    for device in devices() {
        let model = load(case, &config(case, file), &device);
        // Two rows, the second padded on the left: without padding the mask is plain causal.
        for padding in [0, 3] {
            let rows = [
                ids.clone(),
                [vec![0; padding], ids[padding..].to_vec()].concat(),
            ];
            let mask = AttentionMask::left_padded(ids.len(), &[0, padding]);
            let input = |from: usize, to: usize| {
                let piece = rows.iter().flat_map(|row| &row[from..to]);
                let piece: Vec<i64> = piece.map(|id| i64::from(*id)).collect();
                let positions = |padding: usize| {
                    (from..to)
                        .map(|i| i.saturating_sub(padding) as u32)
                        .collect()
                };
                VlmInput {
                    ids: Tensor::from_data(TensorData::new(piece, [2, to - from]), &device),
                    images: None,
                    sources: Vec::new(),
                    positions: Positions::rows(&[positions(0), positions(padding)]),
                    mask: mask.clone(),
                }
            };
            // The padding itself sees nothing and is read by nobody.
            let real = |hidden: Tensor<3>| {
                let [_, seq, size] = hidden.dims();
                let flat = hidden.reshape([2 * seq, size]);
                let padded = flat.clone().slice([seq + padding..2 * seq, 0..size]);
                Tensor::cat(vec![flat.slice([0..seq, 0..size]), padded], 0)
            };
            let whole = real(VisionLanguageModel::forward(
                &model,
                input(0, ids.len()),
                None,
            ));
            let whole = whole.into_data();
            for cut in 1..ids.len() {
                let mut cache = KvCache::new(ids.len());
                let first = VisionLanguageModel::forward(&model, input(0, cut), Some(&mut cache));
                let second =
                    VisionLanguageModel::forward(&model, input(cut, ids.len()), Some(&mut cache));
                let pieces = real(Tensor::cat(vec![first, second], 1));
                let error = relative_error(pieces, whole.clone());
                assert!(
                    error < LOGITS_F32,
                    "{case} {file}, cut at {cut} on {device:?}: {error:e}"
                );
            }
        }
    }
}

#[test]
fn full_attention() {
    check("llama", "config.json");
}

#[test]
fn sliding_window() {
    check("mistral", "config.json");
}

#[test]
fn windows_in_some_layers() {
    check("qwen2", "config.layer_types.json");
}
