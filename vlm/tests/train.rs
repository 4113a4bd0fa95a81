//! Training equals torch's on a tiny LLaVA: losses of every step, and where each tensor moved.

mod common;

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType};
use common::{expected, folder, load, open, relative_error};
use serde::Deserialize;
use vlm::{AnyVlm, Prompt, core::checkpoint::Checkpoint};
use vlm_train::{
    MicroBatch, Sample, Schedule, ScheduleKind, Selection, StepReport, Trainer, TrainerConfig,
};

const CASE: &str = "llava/clip-llama";

#[derive(Deserialize)]
struct Reference {
    learning_rate: f64,
    max_grad_norm: f64,
    runs: BTreeMap<String, Run>,
}

#[derive(Deserialize)]
struct Run {
    losses: Vec<f64>,
    norms: Vec<f64>,
    tokens: usize,
    updates: BTreeMap<String, Vec<f32>>,
}

fn reference() -> Reference {
    let path = folder(CASE).join("../../train/clip-llama.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn samples() -> Vec<Sample> {
    let pretrained = load(CASE, &Device::flex());
    let sample = |wanted: &common::Request| {
        let images = open(CASE, &wanted.images);
        let prompt = Prompt::Text(wanted.prompt.clone());
        let request = pretrained.processor.process(&prompt, &images).unwrap();
        Sample::new(request.sequence, request.images, |_| true)
    };
    expected(CASE).0.requests.iter().map(sample).collect()
}

fn batches() -> Vec<MicroBatch> {
    let mut first = samples();
    let second = first.split_off(2);
    vec![MicroBatch::padded(first), MicroBatch::padded(second)]
}

fn trainer(selection: &Selection, device: &Device) -> Trainer<AnyVlm> {
    let reference = reference();
    let config = TrainerConfig {
        learning_rate: reference.learning_rate,
        projector_learning_rate: None,
        schedule: Schedule::new(ScheduleKind::Constant, 0.0, 6),
        weight_decay: 0.0,
        max_grad_norm: reference.max_grad_norm,
        seed: 0,
    };
    let model = selection.apply(load(CASE, device).model, false);
    Trainer::new(model, config, device, FloatDType::F32.into())
}

/// Dot products of a tensor's change with fixed vectors, as `reference/train.py` has them.
fn projections(before: &[f32], after: &[f32]) -> Vec<f32> {
    let project = |k: usize| -> f64 {
        let changes = before.iter().zip(after).enumerate();
        changes
            .map(|(i, (b, a))| f64::from(a - b) * ((i + 1) as f64 * (k + 1) as f64).cos())
            .sum()
    };
    (0..8).map(|k| project(k) as f32).collect()
}

fn check(mode: &str, selection: &Selection, device: &Device) {
    let run = &reference().runs[mode];
    let mut trainer = trainer(selection, device);
    let batches = batches();
    for (step, (loss, norm)) in run.losses.iter().zip(&run.norms).enumerate() {
        let report: StepReport = trainer.step(&batches);
        assert_eq!(report.tokens, run.tokens);
        let error = (report.loss - loss).abs() / loss;
        assert!(
            error < 1e-3,
            "{mode}, step {step}: {} for {loss}",
            report.loss
        );
        let error = (report.grad_norm - norm).abs() / norm;
        assert!(
            error < 1e-2,
            "{mode}, step {step}: norm {} for {norm}",
            report.grad_norm
        );
    }
    let output = tempfile::tempdir().unwrap();
    let mut trained = load(CASE, device);
    let keys = trained.config.keys();
    trained.model = burn::module::Module::valid(&trainer.model);
    trained.save(output.path()).unwrap();
    let before = Checkpoint::open(folder(CASE)).unwrap();
    let after = Checkpoint::open(output.path()).unwrap();
    let updates: BTreeMap<String, &Vec<f32>> = run
        .updates
        .iter()
        .map(|(key, update)| (keys.canonical(key), update))
        .collect();
    for key in before.keys() {
        let read = |checkpoint: &Checkpoint| common::read(checkpoint, key);
        let (before, after) = (read(&before), read(&after));
        match updates.get(&keys.canonical(key)) {
            None => assert!(before == after, "{mode}: {key} moved"),
            // Attention does not feel it: its gradient is rounding alone, which Adam blows up to full steps.
            Some(_) if key.ends_with("k_proj.bias") => {}
            Some(update) => {
                let error = relative_error(&projections(&before, &after), update);
                assert!(error < 1e-2, "{mode}: the update of {key} is {error:e} off");
            }
        }
    }
}

#[test]
fn the_projector_alone() {
    check("projector", &Selection::Projector, &Device::flex());
}

#[test]
fn the_projector_and_the_decoder() {
    let selection = Selection::ProjectorAndDecoder;
    check("projector+decoder", &selection, &Device::flex());
}

#[test]
fn everything() {
    check("all", &Selection::All, &Device::flex());
}

#[test]
fn packed_equals_unpacked() {
    let trainer = trainer(&Selection::All, &Device::flex());
    let padded = trainer.evaluate(&[MicroBatch::padded(samples())]);
    let packed = MicroBatch::packed(samples(), 4096);
    assert_eq!(packed.rows.len(), 1);
    let packed = trainer.evaluate(&[packed]);
    assert!(
        (padded - packed).abs() / padded < 1e-5,
        "{padded} and {packed}"
    );
}
