//! The stages of an answer, each alone. `cargo bench -p benches`

use benches::small_llava;
use burn::tensor::{DType, Device, Tensor};
use divan::Bencher;
use vlm::{
    core::{VlmInput, nn::KvCache, splice},
    prelude::{ImageBatch, ImageLayout, ProcessedImage, Sequence, Size, Slot, VisionLanguageModel},
};

fn main() {
    divan::main();
}

fn prompt(device: &Device) -> VlmInput {
    let slots: Vec<Slot> = (0..128).map(Slot::text).collect();
    VlmInput::left_padded(&[Sequence { slots, crops: 0 }], None, device)
}

/// A picture of 336 × 336 through three of CLIP-L's layers.
#[divan::bench(sample_count = 10)]
fn encode(bencher: Bencher) {
    let device = Device::default();
    let model = small_llava(&device);
    let picture = ProcessedImage {
        pixels: vec![0.5; 3 * 336 * 336],
        layout: ImageLayout::whole(Size::new(336, 336)),
    };
    let images = ImageBatch::new([&picture], &device, DType::F32);
    bencher.bench(|| model.encode_images(&images).sum().into_data());
}

/// 128 tokens, SmolLM2-135M's proportions.
#[divan::bench(sample_count = 10)]
fn prefill(bencher: Bencher) {
    let device = Device::default();
    let model = small_llava(&device);
    let input = prompt(&device);
    bencher.bench(|| {
        let mut cache = KvCache::new(160);
        let hidden = model.forward(input.clone(), Some(&mut cache));
        hidden.sum().into_data()
    });
}

/// One token after 128, SmolLM2-135M's proportions.
#[divan::bench(sample_count = 20)]
fn decode(bencher: Bencher) {
    let device = Device::default();
    let model = small_llava(&device);
    let input = prompt(&device);
    let mut mask = input.mask.clone();
    let mut cache = KvCache::new(160);
    model.forward(input, Some(&mut cache));
    mask.push();
    let step = VlmInput::step(&[7], &[128], mask, &device);
    bencher.bench_local(|| {
        cache.truncate(128);
        let hidden = model.forward(step.clone(), Some(&mut cache));
        model.logits(hidden).into_data()
    });
}

/// 576 visual tokens among 640 positions of size 4096.
#[divan::bench]
fn splice_rows(bencher: Bencher) {
    let device = Device::default();
    let text = Tensor::<3>::zeros([1, 640, 4096], &device);
    let visual = Tensor::<3>::zeros([1, 576, 4096], &device);
    let sources = Tensor::from_data(&(0..640_i64).collect::<Vec<_>>()[..], &device);
    bencher.bench(|| splice(text.clone(), visual.clone(), None, sources.clone()));
}
