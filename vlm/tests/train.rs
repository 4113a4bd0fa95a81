//! Training equals torch's and peft's on a tiny LLaVA: losses of every step, and where each tensor moved.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, FloatDType, Tensor},
};
use common::{expected, folder, load, open, relative_error};
use serde::Deserialize;
use vlm::{
    Prompt,
    core::{
        ImageBatch, VisionLanguageModel,
        checkpoint::{ADAPTER_FILE, Checkpoint, KeyMap},
    },
    train::{Finetune, FinetuneConfig, Quantization, Start, lora_of_adapter},
};
use vlm_train::{
    LoraConfig, MicroBatch, Sample, Schedule, ScheduleKind, Selection, StepReport, TrainerConfig,
};

const CASE: &str = "llava/clip-llama";
/// Labelled tokens of a request in the run `answers`.
const ANSWER: usize = 5;

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

fn samples(answers: bool) -> Vec<Sample> {
    let pretrained = load(CASE, &Device::flex());
    let sample = |wanted: &common::Request| {
        let images = open(CASE, &wanted.images);
        let prompt = Prompt::Text(wanted.prompt.clone());
        let request = pretrained.processor.process(&prompt, &images).unwrap();
        let first = match answers {
            true => request.sequence.len() - ANSWER,
            false => 0,
        };
        Sample::new(request.sequence, request.images, |index| index >= first)
    };
    expected(CASE).0.requests.iter().map(sample).collect()
}

fn batches(answers: bool) -> Vec<MicroBatch> {
    let mut first = samples(answers);
    let second = first.split_off(2);
    vec![MicroBatch::padded(first), MicroBatch::padded(second)]
}

fn adapter() -> PathBuf {
    folder("adapters/clip-llama")
}

/// LoRA from the adapter that peft wrote.
fn lora() -> Selection {
    Selection::Lora(lora_of_adapter(&adapter()).unwrap().1)
}

fn fresh_lora(targets: &[&str]) -> Selection {
    Selection::Lora(LoraConfig {
        rank: 2,
        alpha: 4.0,
        dropout: 0.0,
        targets: targets.iter().map(|&target| target.to_owned()).collect(),
        whole: Vec::new(),
    })
}

#[derive(Default)]
struct Options {
    dtype: Option<FloatDType>,
    quantization: Option<Quantization>,
    gradient_checkpointing: bool,
    devices: Vec<Device>,
    from_adapter: bool,
    features: Option<PathBuf>,
    /// Whether the projector that the adapter has whole stays as it is.
    factors_alone: bool,
}

fn finetune(selection: Selection, device: &Device, options: Options) -> Finetune {
    try_finetune(selection, device, options).unwrap()
}

fn try_finetune(
    mut selection: Selection,
    device: &Device,
    options: Options,
) -> Result<Finetune, vlm::Error> {
    let reference = reference();
    let start = Start {
        model: folder(CASE),
        adapter: options.from_adapter.then(adapter),
        resume: None,
    };
    let dtype = options.dtype.unwrap_or(FloatDType::F32);
    let quantization = options.quantization;
    let loaded = start
        .load(&mut selection, dtype, quantization, device, |_, _| {})
        .unwrap();
    if let (Selection::Lora(lora), true) = (&mut selection, options.factors_alone) {
        lora.whole.clear();
    }
    let config = FinetuneConfig {
        selection,
        trainer: TrainerConfig {
            learning_rate: reference.learning_rate,
            projector_learning_rate: None,
            schedule: Schedule::new(ScheduleKind::Constant, 0.0, 6),
            weight_decay: 0.0,
            adam_beta2: 0.999,
            max_grad_norm: reference.max_grad_norm,
            seed: 0,
        },
        gradient_checkpointing: options.gradient_checkpointing,
        devices: options.devices,
        features: options.features,
        base: CASE.to_owned(),
        adapter: options
            .from_adapter
            .then(|| lora_of_adapter(&adapter()).unwrap().0),
    };
    Finetune::new(loaded, config)
}

fn losses(mut finetune: Finetune, batches: &[MicroBatch], steps: usize) -> Vec<f64> {
    (0..steps)
        .map(|_| finetune.trainer.step(batches).loss)
        .collect()
}

fn near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / expected;
        assert!(error < tolerance, "{found} for {expected}");
    }
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

fn check(mode: &str, selection: Selection) {
    let run = &reference().runs[mode];
    let lora = matches!(selection, Selection::Lora(_));
    let options = Options {
        from_adapter: lora,
        factors_alone: mode == "lora",
        ..Options::default()
    };
    let mut finetune = finetune(selection, &Device::flex(), options);
    let batches = batches(mode == "answers");
    for (step, (loss, norm)) in run.losses.iter().zip(&run.norms).enumerate() {
        let report: StepReport = finetune.trainer.step(&batches);
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
    finetune
        .saver
        .save(&finetune.trainer, output.path())
        .unwrap();
    let open = |folder: &Path| match lora {
        true => Checkpoint::open_file(folder.join(ADAPTER_FILE)).unwrap(),
        false => Checkpoint::open(folder).unwrap(),
    };
    let before = open(&if lora { adapter() } else { folder(CASE) });
    let after = open(output.path());
    let keys = match lora {
        true => KeyMap::new(),
        false => load(CASE, &Device::flex()).config.keys(),
    };
    let updates: BTreeMap<String, &Vec<f32>> = run
        .updates
        .iter()
        .map(|(key, update)| (keys.canonical(key), update))
        .collect();
    for key in after.keys() {
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
    let saved: BTreeSet<String> = after.keys().map(|key| keys.canonical(key)).collect();
    assert!(updates.keys().all(|key| saved.contains(key)), "{mode}");
}

#[test]
fn the_projector_alone() {
    check("projector", Selection::Projector);
}

#[test]
fn the_projector_and_the_decoder() {
    check("projector+decoder", Selection::ProjectorAndDecoder);
}

#[test]
fn everything() {
    check("all", Selection::All);
}

#[test]
fn the_answers_alone() {
    check("answers", Selection::ProjectorAndDecoder);
}

#[test]
fn adapters_as_peft() {
    check("lora", lora());
}

#[test]
fn adapters_with_the_projector_as_peft() {
    check("lora+projector", lora());
}

#[test]
fn accumulation_equals_a_larger_batch() {
    let both = [MicroBatch::padded(samples(false))];
    for selection in [Selection::ProjectorAndDecoder, fresh_lora(&["q_proj"])] {
        let run = |batches: &[MicroBatch]| {
            let finetune = finetune(selection.clone(), &Device::flex(), Options::default());
            losses(finetune, batches, 4)
        };
        near(&run(&batches(false)), &run(&both), 1e-5);
    }
}

#[test]
fn two_devices_equal_one() {
    let one = losses(
        finetune(Selection::All, &Device::flex(), Options::default()),
        &batches(false),
        4,
    );
    for device in common::devices() {
        let options = Options {
            devices: vec![device],
            ..Options::default()
        };
        let two = finetune(Selection::All, &Device::flex(), options);
        // Rounding of another backend, which Adam's first steps blow up.
        near(&losses(two, &batches(false), 4), &one, 1e-4);
    }
}

#[test]
fn gradient_checkpointing_changes_nothing() {
    let run = |gradient_checkpointing| {
        let options = Options {
            gradient_checkpointing,
            ..Options::default()
        };
        losses(
            finetune(Selection::All, &Device::flex(), options),
            &batches(false),
            3,
        )
    };
    near(&run(true), &run(false), 1e-6);
}

#[test]
fn what_is_frozen_can_be_of_16_bits_and_what_learns_is_of_32() {
    for (selection, from_adapter) in [
        (Selection::Projector, false),
        (Selection::ProjectorAndDecoder, false),
        (lora(), true),
    ] {
        let run = |dtype| {
            let options = Options {
                dtype: Some(dtype),
                from_adapter,
                ..Options::default()
            };
            let finetune = finetune(selection.clone(), &Device::flex(), options);
            losses(finetune, &batches(false), 4)
        };
        // Weights of 8 bits of precision.
        near(&run(FloatDType::BF16), &run(FloatDType::F32), 1e-2);
    }
}

#[test]
fn packed_bases_learn_nearly_alike() {
    let run = |quantization| {
        let options = Options {
            quantization,
            from_adapter: true,
            ..Options::default()
        };
        losses(
            finetune(lora(), &Device::flex(), options),
            &batches(false),
            6,
        )
    };
    let plain = run(None);
    // A value is off by at most 1/254 or 1/14 of the largest in its block.
    near(&run(Some(Quantization::Int8)), &plain, 2e-3);
    near(&run(Some(Quantization::Int4)), &plain, 3e-2);
}

#[test]
fn targets_are_resolved_or_named() {
    let load = |targets: &[&str]| {
        let start = Start {
            model: folder(CASE),
            adapter: None,
            resume: None,
        };
        let mut selection = fresh_lora(targets);
        let loaded = start.load(
            &mut selection,
            FloatDType::F32,
            None,
            &Device::flex(),
            |_, _| {},
        );
        loaded.map(|_| match selection {
            Selection::Lora(lora) => lora.targets,
            _ => unreachable!(),
        })
    };
    let layers = |name: &str| -> Vec<String> {
        let path = |layer| format!("decoder.layers.{layer}.{name}.weight");
        (0..2).map(path).collect()
    };
    assert_eq!(load(&["q_proj"]).unwrap(), layers("self_attn.q_proj"));
    let tower = load(&["vision_tower.encoder.layers.0.mlp.fc1"]).unwrap();
    assert_eq!(tower, ["encoder.layers.0.mlp.up_proj.weight"]);
    assert_eq!(load(&["multi_modal_projector.linear_1"]).unwrap().len(), 1);
    assert_eq!(load(&["all-linear"]).unwrap().len(), 14);
    for unknown in ["qproj", "fc1", "embed_tokens", "layers.7.self_attn.q_proj"] {
        let error = load(&["q_proj", unknown]).unwrap_err().to_string();
        let named = format!(
            "LoRA target `{unknown}` fits no projection; the language model has down_proj, "
        );
        assert!(error.starts_with(&named), "{error}");
    }
}

#[test]
fn features_are_taken_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let run = |cached: bool| {
        let options = Options {
            features: cached.then(|| folder.path().to_path_buf()),
            ..Options::default()
        };
        let finetune = finetune(Selection::ProjectorAndDecoder, &Device::flex(), options);
        losses(finetune, &batches(false), 3)
    };
    let first = run(true);
    // Pictures are encoded one by one in place of batches.
    near(&first, &run(false), 1e-5);
    assert_eq!(run(true), first);
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let [of_this_encoder] = &files(folder.path())[..] else {
        panic!("one encoder, one folder")
    };
    let kept = files(of_this_encoder);
    let pictures: BTreeSet<PathBuf> = expected(CASE)
        .0
        .requests
        .into_iter()
        .flat_map(|r| r.images)
        .collect();
    assert_eq!(kept.len(), pictures.len());
    // Other features, other losses: the files are what is read. A broken one is made anew.
    std::fs::copy(&kept[0], &kept[1]).unwrap();
    assert_ne!(run(true), first);
    for file in &kept {
        std::fs::write(file, "broken").unwrap();
    }
    assert_eq!(run(true), first);
}

#[test]
fn features_of_an_encoder_that_learns_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for selection in [
        Selection::All,
        fresh_lora(&["vision_tower.encoder.layers.0.mlp.fc1"]),
    ] {
        let options = Options {
            features: Some(folder.path().to_path_buf()),
            ..Options::default()
        };
        let error = try_finetune(selection, &Device::flex(), options).unwrap_err();
        assert!(
            error.to_string().contains("the image encoder learns"),
            "{error}"
        );
    }
}

/// Values of all parameters that do not learn, by path.
#[derive(Default)]
struct Frozen {
    path: Vec<String>,
    values: BTreeMap<String, Vec<u8>>,
}

impl ModuleVisitor for Frozen {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.base().into_data();
        self.values
            .insert(self.path.join("."), data.as_bytes().to_vec());
    }
}

#[test]
fn what_is_frozen_stays_bit_for_bit() {
    for selection in [
        Selection::Projector,
        Selection::ProjectorAndDecoder,
        fresh_lora(&["q_proj", "vision_tower.encoder.layers.*.mlp.fc1"]),
    ] {
        for dtype in [FloatDType::F32, FloatDType::BF16] {
            let options = Options {
                dtype: Some(dtype),
                ..Options::default()
            };
            let mut finetune = finetune(selection.clone(), &Device::flex(), options);
            let values = |finetune: &Finetune| {
                let mut frozen = Frozen::default();
                finetune.trainer.model.visit(&mut frozen);
                frozen.values
            };
            let before = values(&finetune);
            for _ in 0..2 {
                finetune.trainer.step(&batches(false));
            }
            let after = values(&finetune);
            let rows = finetune.parameters();
            assert!(rows.iter().any(|row| row.trains) && rows.iter().any(|row| !row.trains));
            for row in rows.iter().filter(|row| !row.trains) {
                assert!(before[&row.path] == after[&row.path], "{} moved", row.path);
            }
            let moved = rows
                .iter()
                .filter(|row| row.trains && before[&row.path] != after[&row.path]);
            assert!(moved.count() > 0, "nothing learned");
        }
    }
}

#[test]
fn what_is_frozen_records_nothing() {
    let finetune = finetune(fresh_lora(&["q_proj"]), &Device::flex(), Options::default());
    let model = &finetune.trainer.model;
    for batch in batches(false) {
        let images = batch.images();
        if images.is_empty() {
            continue;
        }
        let device = Device::flex();
        let images = ImageBatch::new(images, &device, FloatDType::F32.into());
        assert!(!model.image_features(&images).unwrap().is_autodiff());
        assert!(!model.encode_images(&images).is_autodiff());
        let input = batch.input(&device, FloatDType::F32.into());
        assert!(model.forward(input, None).is_autodiff());
    }
}

#[test]
fn packed_equals_unpacked() {
    let finetune = finetune(Selection::All, &Device::flex(), Options::default());
    let evaluate = |batch: MicroBatch| finetune.trainer.evaluate(&[batch]).loss;
    let packed = MicroBatch::packed(samples(false), 4096);
    assert_eq!(packed.rows.len(), 1);
    let padded = evaluate(MicroBatch::padded(samples(false)));
    near(&[evaluate(packed)], &[padded], 1e-5);
}
