//! The stages of an answer, each alone. `cargo bench -p benches`

use std::hint::black_box;

use benches::small_llava;
use burn::tensor::{DType, Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use vlm::{
    core::{VlmInput, nn::KvCache, splice},
    prelude::{ImageBatch, ImageLayout, ProcessedImage, Sequence, Size, Slot, VisionLanguageModel},
};

fn picture() -> ProcessedImage {
    let crop = Size::new(336, 336);
    ProcessedImage {
        pixels: vec![0.5; 3 * 336 * 336],
        layout: ImageLayout {
            original: crop,
            crop,
            tiles: Size::new(1, 1),
            crops: 1,
        },
    }
}

fn stages(criterion: &mut Criterion) {
    let device = Device::default();
    let model = small_llava(&device);
    let images = ImageBatch::new([&picture()], &device, DType::F32);
    let mut group = criterion.benchmark_group("stages");
    group.sample_size(10);
    group.bench_function("encode 336 × 336, 3 of CLIP-L's layers", |bencher| {
        bencher.iter(|| black_box(model.encode_images(&images).sum().into_data()));
    });

    let slots: Vec<Slot> = (0..128).map(Slot::text).collect();
    let prompt = Sequence { slots, crops: 0 };
    let input = VlmInput::left_padded(&[prompt], None, 0, &device);
    group.bench_function("prefill 128 tokens, SmolLM2-135M", |bencher| {
        bencher.iter(|| {
            let mut cache = KvCache::new(160);
            black_box(
                model
                    .forward(input.clone(), Some(&mut cache))
                    .sum()
                    .into_data(),
            )
        });
    });

    let mut cache = KvCache::new(160);
    model.forward(input.clone(), Some(&mut cache));
    let mut mask = input.mask.clone();
    mask.push();
    let step = VlmInput::step(&[7], &[128], mask, &device);
    group.bench_function("decode one token at 128, SmolLM2-135M", |bencher| {
        bencher.iter(|| {
            cache.truncate(128);
            let hidden = model.forward(step.clone(), Some(&mut cache));
            black_box(model.logits(hidden).into_data())
        });
    });

    let text = Tensor::<3>::zeros([1, 640, 4096], &device);
    let visual = Tensor::<3>::zeros([1, 576, 4096], &device);
    let sources = Tensor::from_data(&(0..640_i64).collect::<Vec<_>>()[..], &device);
    group.bench_function("splice 576 of 640 positions of size 4096", |bencher| {
        bencher.iter(|| black_box(splice(text.clone(), visual.clone(), None, sources.clone())));
    });
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
