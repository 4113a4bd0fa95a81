use burn::tensor::{DType, FloatDType, Int, Tensor, module};

use crate::Quantization;

/// Rows of a table of embeddings; those of a rounded one are floats of the kind that they were rounded from.
///
/// # Shapes
/// - table: `[tokens, size]`
/// - ids: `[batch, seq]`
/// - output: `[batch, seq, size]`
///
/// # Panics
///
/// When an id is not below `tokens`.
pub fn table_rows(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(rows) = crate::flex::table_rows(&table, &ids) {
        return rows;
    }
    module::embedding(table, ids)
}

/// `x · tableᵀ`: the scores of tokens by a table of embeddings.
///
/// # Shapes
/// - x: `[batch, seq, size]`
/// - table: `[tokens, size]`
/// - output: `[batch, seq, tokens]`
///
/// # Panics
///
/// When the sizes differ.
pub fn table_scores(x: Tensor<3>, table: Tensor<2>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    {
        let path = crate::Path::current();
        if let Some(scores) = crate::flex::table_scores(path, &x, &table) {
            return scores;
        }
    }
    let table = match table.dtype() {
        DType::QFloat(_) => {
            let floats = Quantization::dequantize(&table, FloatDType::from(x.dtype()));
            floats.unwrap_or(table)
        }
        _ => table,
    };
    #[cfg(feature = "flex")]
    {
        let path = crate::Path::current();
        let weight = table.clone().transpose();
        if let Some([scores]) = crate::flex::linears(path, &x, [(&weight, None)]) {
            return scores;
        }
    }
    // The table stays as it lies; its product is what is turned, which is small.
    let [batch, seq, size] = x.dims();
    let rows = x.reshape([batch * seq, size]).transpose();
    let scores = table.matmul(rows).transpose();
    let tokens = scores.dims()[1];
    scores.reshape([batch, seq, tokens])
}
