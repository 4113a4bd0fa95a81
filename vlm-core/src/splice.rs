use burn::tensor::{FloatDType, Int, Tensor};

/// Puts visual tokens and separators between text embeddings: one gather over their rows.
///
/// Row numbers count through the text (`batch · seq` rows), then the visual tokens (`crops · tokens` rows),
/// then the separators. Gradients flow to all three; nothing is read back from the device. The result has the
/// text's precision.
///
/// ```text
/// text  [[a b c]]   visual [[v w]]   sources [0 3 4 2]   ->   [[a v w c]]
/// ```
///
/// # Shapes
/// - text: `[batch, seq, hidden]`
/// - visual: `[crops, tokens, hidden]`
/// - separators: `[count, hidden]`
/// - sources: `[batch · seq]`
/// - output: `[batch, seq, hidden]`
///
/// # Panics
///
/// When the hidden sizes differ.
pub fn splice(
    text: Tensor<3>,
    visual: Tensor<3>,
    separators: Option<Tensor<2>>,
    sources: Tensor<1, Int>,
) -> Tensor<3> {
    let [batch, seq, hidden] = text.dims();
    let [crops, tokens, visual_hidden] = visual.dims();
    assert_eq!(
        hidden, visual_hidden,
        "the projector's output size {visual_hidden} is not the decoder's hidden size {hidden}"
    );
    let dtype = FloatDType::from(text.dtype());
    let mut rows = vec![
        text.reshape([batch * seq, hidden]),
        visual.reshape([crops * tokens, hidden]).cast(dtype),
    ];
    rows.extend(separators.map(|separators| separators.cast(dtype)));
    Tensor::cat(rows, 0)
        .select(0, sources)
        .reshape([batch, seq, hidden])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn gradients_reach_exactly_the_rows_that_are_read() {
        let device = Device::default().autodiff();
        let text = Tensor::<3>::ones([1, 4, 2], &device).require_grad();
        let visual = Tensor::<3>::ones([1, 2, 2], &device).require_grad();
        let separators = Tensor::<2>::ones([1, 2], &device).require_grad();
        let sources = Tensor::from_ints([0, 5, 6, 6], &device);
        let out = splice(
            text.clone(),
            visual.clone(),
            Some(separators.clone()),
            sources,
        );
        assert_eq!(out.dims(), [1, 4, 2]);
        let gradients = out.sum().backward();
        let values = |g: Tensor<1>| g.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(
            values(text.grad(&gradients).unwrap().reshape([8])),
            [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(
            values(visual.grad(&gradients).unwrap().reshape([4])),
            [0.0, 0.0, 1.0, 1.0]
        );
        assert_eq!(
            values(separators.grad(&gradients).unwrap().reshape([2])),
            [2.0, 2.0]
        );
    }
}
