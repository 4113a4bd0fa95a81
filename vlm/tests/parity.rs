//! Every family equals transformers on tiny checkpoints: tokens, pixels, visual tokens, logits and answers,
//! on both CPU backends.

mod common;

use burn::tensor::Device;
use common::{
    CASES, F32, LAYOUTS, devices, expected, folder, load, open, read, relative_error, runs, values,
};
use vlm::{
    AnyConfig, AnyVlm, Processor, Prompt, Request,
    core::{ImageEncoder, Images, Size, VisionLanguageModel},
    text::{BeamConfig, generate, prefill},
};

fn check(case: &str, device: &Device) {
    let (expected, tensors) = expected(case);
    let pretrained = load(case, device);
    let model = &pretrained.model;
    let config = pretrained.generation_config(24).unwrap();
    for (index, wanted) in expected.requests.iter().enumerate() {
        let name = format!("{case}, request {index} on {device:?}");
        let key = |what: &str| format!("request_{index}.{what}");
        let images = open(case, &wanted.images);
        let prompt = Prompt::Text(wanted.prompt.clone());
        let request = pretrained.processor.process(&prompt, &images).unwrap();
        assert_eq!(request.sequence.ids(), wanted.prompt_tokens, "{name}");
        let pixels = request.images.iter().flat_map(|i| i.pixels.clone());
        let pixels: Vec<f32> = pixels.collect();
        let batch = Request::images(
            std::slice::from_ref(&request),
            device,
            pretrained.dtype().into(),
        );
        if let Some(Images::Pixels(batch)) = &batch {
            assert!(
                pixels == read(&tensors, &key("pixel_values")),
                "{name}: pixels differ"
            );
            let error = relative_error(
                &values(model.encode_images(batch)),
                &read(&tensors, &key("image_features")),
            );
            assert!(error < F32, "{name}: visual tokens are {error:e} off");
        }
        let prompt = [request.sequence];
        let prefilled = prefill(model, &prompt, batch.clone(), &config, device).unwrap();
        let logits = values(model.logits(prefilled.hidden));
        let error = relative_error(&logits, &read(&tensors, &key("logits")));
        assert!(error < F32, "{name}: logits are {error:e} off");
        if let Some(wanted) = &wanted.beam_tokens {
            let config = config.clone().with_beams(BeamConfig::new(3));
            let answer = generate(model, &prompt, batch.clone(), &config, device).unwrap();
            assert_eq!(&answer[0].tokens, wanted, "{name}, three beams");
        }
        let answer = generate(model, &prompt, batch, &config, device).unwrap();
        assert_eq!(answer[0].tokens, wanted.tokens, "{name}");
        let text = pretrained.processor.tokenizer().decode(&answer[0].tokens);
        assert_eq!(text, wanted.text, "{name}");
    }
    for (index, wanted) in expected.messages.iter().enumerate() {
        let name = format!("{case}, conversation {index} on {device:?}");
        let images = open(case, &wanted.images);
        let prompt = Prompt::Messages(wanted.messages.clone());
        let request = pretrained.processor.process(&prompt, &images).unwrap();
        assert_eq!(request.sequence.ids(), wanted.prompt_tokens, "{name}");
        let batch = Request::images(
            std::slice::from_ref(&request),
            device,
            pretrained.dtype().into(),
        );
        let answer = generate(model, &[request.sequence], batch, &config, device).unwrap();
        assert_eq!(answer[0].tokens, wanted.tokens, "{name}");
    }
}

#[test]
fn every_case_on_flex() {
    for case in CASES {
        check(case, &devices()[0]);
    }
}

#[test]
fn every_case_on_ndarray() {
    for case in CASES {
        check(case, &devices()[1]);
    }
}

/// Where pictures of many sizes stand in a prompt; the folders need no weights.
#[test]
fn layouts_of_pictures_of_many_sizes() {
    for case in LAYOUTS {
        let config = AnyConfig::from_folder(folder(case)).unwrap();
        let processor = Processor::from_folder(folder(case), &config).unwrap();
        for layout in common::layouts(case) {
            let [height, width] = layout.size;
            let prompt = Prompt::Text(layout.prompt);
            let planned = processor.plan(&prompt, &[Size::new(height, width)]);
            let (sequence, _) = planned.unwrap();
            assert_eq!(
                runs(&sequence.ids()),
                layout.runs,
                "{case}: {height} × {width}"
            );
        }
    }
}

#[test]
fn features_of_llava_towers() {
    let device = Device::flex();
    for case in CASES.iter().filter(|case| case.starts_with("llava/")) {
        let (expected, tensors) = expected(case);
        let pretrained = load(case, &device);
        let AnyVlm::Llava(model) = &pretrained.model else {
            panic!("{case} is no LLaVA");
        };
        for (index, wanted) in expected.requests.iter().enumerate() {
            let images = open(case, &wanted.images);
            let prompt = Prompt::Text(wanted.prompt.clone());
            let request = pretrained.processor.process(&prompt, &images).unwrap();
            let batch = Request::images(&[request], &device, pretrained.dtype().into());
            let Some(Images::Pixels(batch)) = batch else {
                continue;
            };
            let features = values(model.encoder.forward(&batch));
            let wanted = read(&tensors, &format!("request_{index}.vision_features"));
            let error = relative_error(&features, &wanted);
            assert!(error < F32, "{case}, request {index}: {error:e} off");
        }
    }
}

#[test]
fn bytes_before_normalisation() {
    use vlm::vision::processor::{PlainProcessor, ProcessorClass};
    for case in CASES.iter().filter(|case| case.starts_with("llava/")) {
        let (expected, _) = expected(case);
        let file = std::fs::read(folder(case).join("expected.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let processor = PlainProcessor::read(&folder(case), Some(ProcessorClass::Llava)).unwrap();
        for (index, request) in expected.requests.iter().enumerate() {
            let images = open(case, &request.images);
            if images.is_empty() {
                continue;
            }
            let wanted = tensors
                .tensor(&format!("request_{index}.pixel_u8"))
                .unwrap();
            let mut planes = Vec::new();
            for image in &images {
                let picture = processor.picture(image).unwrap();
                planes.extend((0..3).flat_map(|c| picture.pixels().map(move |p| p.0[c])));
            }
            assert!(planes == wanted.data(), "{case}, request {index}");
        }
    }
}
