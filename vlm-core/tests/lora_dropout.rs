//! LoRA's dropout. Alone in its process: the generator of random numbers is shared by all threads of one.

use burn::{
    module::{Module, Param, Reparameterizer},
    tensor::{Device, Tensor, module::linear},
};
use vlm_core::nn::{Linear, LinearConfig, LoraDropout};

struct Attach(f64);

impl Reparameterizer for Attach {
    type Reparam = LoraDropout;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraDropout>) {
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        let device = param.lazy_device();
        let adapter = (D == 2).then(|| LoraDropout {
            a: Param::from_tensor(Tensor::ones([shape[0], 2], &device)),
            b: Param::from_tensor(Tensor::ones([2, shape[1]], &device)),
            scale: 0.5,
            dropout: self.0,
        });
        (param.set_require_grad(false), adapter)
    }
}

fn layer(dropout: f64, device: &Device) -> Linear {
    let layer = LinearConfig::new(400, 1).with_bias(false).init(device);
    layer.apply_reparameterization(Attach(dropout))
}

fn added(layer: &Linear) -> f32 {
    let device = layer.weight.lazy_device();
    let x = Tensor::<2>::ones([1, 400], &device);
    let added = layer.forward(x.clone()) - linear(x, layer.weight.base(), None);
    added.inner().into_scalar()
}

#[test]
fn inputs_are_dropped_while_learning_only() {
    it_merges_as_burns_own();
    let device = Device::default().autodiff();
    device.seed(3);
    let learning = layer(0.25, &device);
    let found = added(&learning);
    // 400 inputs of 1 through two factors of 1, halved: 400, of which some 300 are kept and grow by 4/3.
    assert!(
        (found - 400.0).abs() < 60.0 && (found - 400.0).abs() > 0.01,
        "{found}"
    );
    assert!((added(&learning) - found).abs() > 1e-3, "the masks differ");
    device.seed(3);
    assert_eq!(added(&layer(0.25, &device)), found, "the seed decides");
    assert!((added(&learning.valid()) - 400.0).abs() < 0.01);
    assert!((added(&layer(0.0, &device)) - 400.0).abs() < 0.01);
}

fn it_merges_as_burns_own() {
    let device = Device::default();
    let adapted = layer(0.25, &device);
    let x = Tensor::<2>::ones([1, 400], &device);
    let expected: f32 = adapted.forward(x.clone()).into_scalar();
    let merged = adapted.materialize();
    let found: f32 = merged.forward(x).into_scalar();
    assert!((found - expected).abs() < 1e-2, "{found} for {expected}");
}
