use burn::tensor::{Bool, Tensor, module, ops::AttentionModuleOptions};

/// `softmax(q · kᵀ / √head_dim) · v`, each group of query heads on its key head.
///
/// # Shapes
/// - query: `[batch, heads, queries, head_dim]`
/// - key, value: `[batch, kv_heads, keys, head_dim]`, views of a cache as well
/// - hidden: `[batch or 1, 1, queries, keys]`, `true` is hidden
/// - output: as the query
///
/// `causal` hides later keys, the last query being aligned with the last key.
///
/// # Panics
///
/// When shapes do not fit.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    causal: bool,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    {
        let path = crate::Path::current();
        let (query, key, value) = (&query, &key, &value);
        let attended = crate::flex::attention(path, query, key, value, hidden.as_ref(), causal);
        if let Some(attended) = attended {
            return attended;
        }
        #[cfg(feature = "autodiff")]
        {
            let hidden = hidden.as_ref();
            let attended = crate::backward::attention(path, query, key, value, hidden, causal);
            if let Some(attended) = attended {
                return attended;
            }
        }
    }
    grouped(query, key, value, hidden, causal)
}

fn grouped(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    causal: bool,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = query.dims();
    let [_, kv_heads, keys, _] = key.dims();
    let group = heads / kv_heads;
    if group == 1 {
        return masked(query, key, value, hidden, causal);
    }
    if seq == 1 && !causal {
        // One query: its group becomes rows, and keys and values stay as they are.
        let rows = query.reshape([batch, kv_heads, group, head_dim]);
        return masked(rows, key, value, hidden, causal).reshape([batch, heads, 1, head_dim]);
    }
    // Backends differ in whether they broadcast grouped heads, so they are repeated.
    let repeat = |x: Tensor<4>| {
        x.unsqueeze_dim::<5>(2)
            .expand([batch, kv_heads, group, keys, head_dim])
            .reshape([batch, heads, keys, head_dim])
    };
    masked(query, repeat(key), repeat(value), hidden, causal)
}

fn masked(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    causal: bool,
) -> Tensor<4> {
    let [batch, heads, rows, _] = query.dims();
    let keys = key.dims()[2];
    let hidden = hidden.map(|hidden| hidden.expand([batch, heads, rows, keys]));
    let options = AttentionModuleOptions {
        is_causal: causal,
        ..Default::default()
    };
    module::attention(query, key, value, hidden, None, options)
}
