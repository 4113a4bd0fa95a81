//! What must hold whatever the weights: cached = uncached, batch = single, padded = unpadded, saved = loaded.
//!
//! Dynamic scaling of rotary frequencies (`clip-dynamic`) is exempt from the first two, as in the reference:
//! keys cached before the trained length keep their frequencies.

mod common;

use burn::tensor::{Device, FloatDType};
use common::{CASES, expected, is_dynamic, load, open, relative_error, values};
use vlm::{
    Pretrained, Prompt, Request,
    core::{Images, Sequence, Slot, VisionLanguageModel, VlmInput, nn::KvCache},
    text::generate,
};

fn requests(case: &str, pretrained: &Pretrained) -> Vec<Request> {
    let (expected, _) = expected(case);
    let process = |request: &common::Request| {
        let images = open(case, &request.images);
        let prompt = Prompt::Text(request.prompt.clone());
        pretrained.processor.process(&prompt, &images).unwrap()
    };
    expected.requests.iter().map(process).collect()
}

fn images(requests: &[Request], device: &Device) -> Option<Images> {
    Request::images(requests, device, FloatDType::F32.into())
}

fn input(requests: &[Request], device: &Device) -> VlmInput {
    let sequences: Vec<Sequence> = requests.iter().map(|r| r.sequence.clone()).collect();
    VlmInput::left_padded(&sequences, images(requests, device), device)
}

#[test]
fn cached_equals_uncached() {
    let device = Device::flex();
    for case in CASES.iter().filter(|case| !is_dynamic(case)) {
        let pretrained = load(case, &device);
        let mut request = requests(case, &pretrained).remove(0);
        let extra = [5, 9, 130, 17];
        let mut cache = KvCache::new(request.sequence.len() + extra.len());
        let first = input(std::slice::from_ref(&request), &device);
        let mut mask = first.mask.clone();
        let mut hidden = vec![pretrained.model.forward(first, Some(&mut cache))];
        for id in extra {
            mask.push();
            let position = request.sequence.len() as u32;
            let step = VlmInput::step(&[id], &[position], mask.clone(), &device);
            hidden.push(pretrained.model.forward(step, Some(&mut cache)));
            request.sequence.slots.push(Slot::text(id));
        }
        let cached = values(burn::tensor::Tensor::cat(hidden, 1));
        let whole = input(std::slice::from_ref(&request), &device);
        let whole = values(pretrained.model.forward(whole, None));
        let error = relative_error(&cached, &whole);
        assert!(error < common::F32, "{case}: {error:e}");
    }
}

#[test]
fn a_batch_equals_its_rows_alone() {
    let device = Device::flex();
    for case in CASES.iter().filter(|case| !is_dynamic(case)) {
        let pretrained = load(case, &device);
        let requests = requests(case, &pretrained);
        let config = pretrained.generation_config(12).unwrap();
        let prompts: Vec<Sequence> = requests.iter().map(|r| r.sequence.clone()).collect();
        let model = &pretrained.model;
        let together = generate(
            model,
            &prompts,
            images(&requests, &device),
            &config,
            &device,
        );
        for (index, answer) in together.unwrap().into_iter().enumerate() {
            let alone = images(&requests[index..=index], &device);
            let alone = generate(model, &prompts[index..=index], alone, &config, &device).unwrap();
            assert_eq!(answer, alone[0], "{case}, request {index}");
        }
        // The same of hidden states: a row's last position does not feel its padding.
        let hidden = model.forward(input(&requests, &device), None);
        let [_, seq, size] = hidden.dims();
        let hidden = values(hidden);
        for (index, request) in requests.iter().enumerate() {
            let alone = values(model.forward(input(std::slice::from_ref(request), &device), None));
            let row = &hidden
                [((index + 1) * seq - request.sequence.len()) * size..(index + 1) * seq * size];
            let error = relative_error(row, &alone);
            assert!(error < common::F32, "{case}, request {index}: {error:e}");
        }
    }
}

/// Numbers by chance, the same at each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn pictures_of_any_number_and_size_do_not_feel_their_batch() {
    let device = Device::flex();
    let mut chance = Chance(7);
    // A fixed number of tokens, tiles by the picture's size, tiles with tokens around them.
    for case in ["llava/clip-llama", "llava_next/mistral", "idefics3/smolvlm"] {
        let pretrained = load(case, &device);
        let mut config = pretrained.generation_config(5).unwrap();
        config.eos_token_ids.extend(30..60);
        for round in 0..3 {
            let mut request = || {
                let mut images = Vec::new();
                let mut prompt = String::new();
                for _ in 0..chance.below(4) {
                    prompt += "<image>\n";
                    let (width, height) = (1 + chance.below(50), 1 + chance.below(50));
                    images.push(image::RgbImage::from_fn(
                        width as u32,
                        height as u32,
                        |_, _| image::Rgb([0; 3].map(|_: u8| chance.below(256) as u8)),
                    ));
                }
                prompt += &"What is this? "[chance.below(8)..];
                let prompt = Prompt::Text(prompt);
                pretrained.processor.process(&prompt, &images).unwrap()
            };
            let requests: Vec<Request> = (0..3).map(|_| request()).collect();
            let answers = |requests: &[Request]| {
                let prompts: Vec<Sequence> = requests.iter().map(|r| r.sequence.clone()).collect();
                let visual = images(requests, &device);
                generate(&pretrained.model, &prompts, visual, &config, &device).unwrap()
            };
            let together = answers(&requests);
            for (index, answer) in together.iter().enumerate() {
                let alone = answers(&requests[index..=index]);
                assert_eq!(*answer, alone[0], "{case}, round {round}, request {index}");
            }
        }
    }
}

#[test]
fn saved_equals_loaded() {
    let device = Device::flex();
    for case in CASES {
        let pretrained = load(case, &device);
        let folder = tempfile::tempdir().unwrap();
        pretrained.save(folder.path()).unwrap();
        // Others may read the weights if they may read anything else.
        let rights = |name: &str| {
            std::fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
        };
        assert_eq!(rights("model.safetensors"), rights("config.json"), "{case}");
        let again = Pretrained::load(folder.path(), FloatDType::F32, &device).unwrap();
        let request = requests(case, &pretrained).remove(0);
        let logits = |pretrained: &Pretrained| {
            let hidden = pretrained
                .model
                .forward(input(std::slice::from_ref(&request), &device), None);
            values(pretrained.model.logits(hidden))
        };
        assert!(logits(&pretrained) == logits(&again), "{case}");
        let ids = |pretrained: &Pretrained| pretrained.generation_config(1).unwrap().eos_token_ids;
        assert_eq!(ids(&pretrained), ids(&again), "{case}");
    }
}

#[test]
fn parameter_paths_are_those_of_the_model_inside() {
    use burn::module::{Module, ModuleVisitor, Param};
    #[derive(Default)]
    struct Paths(Vec<String>, Vec<String>);
    impl ModuleVisitor for Paths {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, _: &Param<burn::tensor::Tensor<D>>) {
            self.1.push(self.0.join("."));
        }
    }
    let paths = |model: &dyn Fn(&mut Paths)| {
        let mut paths = Paths::default();
        model(&mut paths);
        paths.1
    };
    let any = load("llava/clip-llama", &Device::flex()).model;
    let vlm::AnyVlm::Llava(inside) = &any else {
        panic!("no LLaVA");
    };
    let outer = paths(&|visitor| any.visit(visitor));
    assert_eq!(outer, paths(&|visitor| inside.visit(visitor)));
    for path in [
        "encoder.layers.0.self_attn.q_proj.weight",
        "projector.mlp.up_proj.weight",
        "decoder.layers.1.mlp.gate_proj.weight",
        "decoder.lm_head.weight",
    ] {
        assert!(
            outer.iter().any(|other| other == path),
            "{path} is not among {outer:?}"
        );
    }
}

#[test]
fn a_head_of_its_own_counts_though_the_configuration_ties_it() {
    use safetensors::{SafeTensors, tensor::TensorView};
    let folder = common::copy("llava/siglip-qwen2");
    let file = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let load = |negated: bool| {
        let table = tensors
            .tensor("language_model.model.embed_tokens.weight")
            .unwrap();
        let mut head = table.data().to_vec();
        if negated {
            // The sign of every little-endian f32.
            head.iter_mut()
                .skip(3)
                .step_by(4)
                .for_each(|byte| *byte ^= 0x80);
        }
        let head = TensorView::new(table.dtype(), table.shape().to_vec(), &head).unwrap();
        let mut all: Vec<(String, TensorView<'_>)> = tensors.tensors();
        all.push(("language_model.lm_head.weight".to_owned(), head));
        safetensors::serialize_to_file(all, None, &file).unwrap();
        Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap()
    };
    let logits = |pretrained: &Pretrained| {
        let request = requests("llava/siglip-qwen2", pretrained).remove(3);
        let input = input(std::slice::from_ref(&request), &Device::flex());
        values(
            pretrained
                .model
                .logits(pretrained.model.forward(input, None)),
        )
    };
    let tied = logits(&load(false));
    let negated: Vec<f32> = logits(&load(true)).iter().map(|logit| -logit).collect();
    assert!(relative_error(&negated, &tied) < common::F32);
}

#[test]
fn a_tied_model_takes_the_head_where_the_file_has_no_table() {
    use safetensors::{SafeTensors, tensor::TensorView};
    let folder = common::copy("llava/siglip-qwen2");
    let file = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<(String, TensorView<'_>)> = tensors.tensors();
    let table = "language_model.model.embed_tokens.weight";
    let (name, _) = all.iter_mut().find(|(name, _)| name == table).unwrap();
    *name = "language_model.lm_head.weight".to_owned();
    safetensors::serialize_to_file(all, None, &file).unwrap();
    let device = Device::flex();
    let hidden = |pretrained: &Pretrained| {
        let request = requests("llava/siglip-qwen2", pretrained).remove(0);
        values(pretrained.model.forward(input(&[request], &device), None))
    };
    let renamed = Pretrained::load(folder.path(), FloatDType::F32, &device).unwrap();
    assert!(hidden(&renamed) == hidden(&load("llava/siglip-qwen2", &device)));
}
