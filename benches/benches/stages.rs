//! The stages of an answer, each alone. `cargo bench --workspace --bench stages`

use benches::small_llava;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use divan::Bencher;
use image::{Rgb, RgbImage};
use serde_json::json;
use vlm::{
    checkpoint::{self, Checkpoint, Loader, Quantization},
    core::{VlmInput, nn::KvCache, splice},
    llama,
    prelude::{
        ImageBatch, ImageLayout, ImageProcessor, ProcessedImage, Projector, Sequence, Size, Slot,
        VisionLanguageModel,
    },
    vision::processor::{AnyResProcessor, PlainProcessor, TilingProcessor},
};

fn main() {
    divan::main();
}

fn prompt(device: &Device) -> VlmInput {
    let slots: Vec<Slot> = (0..128).map(Slot::text).collect();
    VlmInput::left_padded(&[Sequence { slots, crops: 0 }], None, device)
}

/// A photograph of 1000 × 750, as the processors of LLaVA, LLaVA-NeXT and SmolVLM make crops of it.
#[divan::bench(args = ["plain", "anyres", "tiling"])]
fn preprocess(bencher: Bencher, kind: &str) {
    let keys = |value: serde_json::Value| value.as_object().expect("an object").clone();
    let side = json!({ "size": { "shortest_edge": 336 }, "crop_size": 336 });
    let processor: Box<dyn ImageProcessor> = match kind {
        "plain" => {
            let mut keys = keys(side);
            keys.insert("image_processor_type".into(), json!("CLIPImageProcessor"));
            Box::new(PlainProcessor::from_keys(keys, None).expect("keys"))
        }
        "anyres" => Box::new(AnyResProcessor::from_keys(keys(side)).expect("keys")),
        _ => Box::new(TilingProcessor::from_keys(keys(json!({}))).expect("keys")),
    };
    let picture = RgbImage::from_fn(1000, 750, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
    bencher.bench(|| processor.process(&picture).expect("pixels"));
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

/// The 576 patches of CLIP-L into a decoder of size 576.
#[divan::bench(sample_count = 20)]
fn project(bencher: Bencher) {
    let device = Device::default();
    let model = small_llava(&device);
    let features = Tensor::<3>::ones([1, 576, 1024], &device);
    bencher.bench(|| model.projector.forward(features.clone()).sum().into_data());
}

/// SmolLM2-135M's proportions from a file of 32-bit floats that the system has in memory.
#[divan::bench(args = ["f32", "bf16", "int8"], sample_count = 5)]
fn load(bencher: Bencher, kind: &str) {
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let config = llama::smollm2_135m();
    let keys = llama::keys(&config);
    let decoder = || config.init(&device);
    checkpoint::save(&decoder(), &keys, folder.path(), usize::MAX).expect("a file");
    let checkpoint = Checkpoint::open(folder.path()).expect("the file");
    let (dtype, quantization) = match kind {
        "f32" => (FloatDType::F32, None),
        "bf16" => (FloatDType::BF16, None),
        _ => (FloatDType::BF16, Some(Quantization::Int8)),
    };
    bencher.bench(|| {
        let loader = Loader::new(&checkpoint, &keys, dtype).with_quantization(quantization);
        loader.load(decoder()).expect("weights")
    });
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
