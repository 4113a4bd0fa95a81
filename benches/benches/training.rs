//! Steps of training. `cargo bench --workspace --bench training`, and `reference/train_speed.py` beside it.

use benches::world_llava;
use burn::tensor::{DType, Device};
use divan::Bencher;
use vlm::{
    prelude::{ImageLayout, ProcessedImage, Sequence, Size, Slot},
    train::{MicroBatch, Sample, Schedule, ScheduleKind, Selection, Trainer, TrainerConfig},
};

/// Conversations of a step.
const BATCH: u32 = 32;
/// Positions of each, of which 64 are the picture's and the last 20 are learned.
const POSITIONS: usize = 194;

fn main() {
    vlm::kernels::keep_memory_up_to(1 << 31);
    divan::main();
}

fn conversation(seed: u32) -> Sample {
    let picture = (0..64).map(|token| Slot::visual(3, 0, token));
    let text = (65..POSITIONS as u32).map(|at| Slot::text((seed * 31 + at * 17) % 560 + 10));
    let slots = std::iter::once(Slot::text(1)).chain(picture).chain(text);
    let sequence = Sequence {
        slots: slots.collect(),
        crops: 1,
    };
    let image = ProcessedImage {
        pixels: (0..3 * 96 * 96)
            .map(|at| (at % 255) as f32 / 255.0)
            .collect(),
        layout: ImageLayout::whole(Size::new(96, 96)),
    };
    Sample::new(sequence, vec![image], |at| at >= POSITIONS - 20)
}

/// One step of the picture world's model, everything learning.
#[divan::bench(sample_count = 10)]
fn all(bencher: Bencher) {
    step(bencher, &Selection::All);
}

/// The same, with the projector alone learning.
#[divan::bench(sample_count = 10)]
fn projector(bencher: Bencher) {
    step(bencher, &Selection::Projector);
}

fn step(bencher: Bencher, selection: &Selection) {
    let device = Device::default();
    let model = selection.apply(world_llava(&device), false);
    let model = model.expect("something learns");
    let config = TrainerConfig {
        learning_rate: 1e-3,
        projector_learning_rate: None,
        schedule: Schedule::new(ScheduleKind::Constant, 0.0, 1000),
        weight_decay: 0.0,
        adam_beta2: 0.999,
        max_grad_norm: 1.0,
        seed: 0,
    };
    let mut trainer = Trainer::new(model, config, &device, DType::F32);
    let batch = MicroBatch::padded((0..BATCH).map(conversation).collect());
    bencher.bench_local(|| trainer.step(std::slice::from_ref(&batch)));
}
