//! LLaVA-1.5 equals transformers on tiny checkpoints of every layout: tokens, pixels, features, logits and
//! answers, on both CPU backends.

mod common;

use burn::tensor::Device;
use common::{CASES, F32, devices, expected, folder, load, open, read, relative_error, values};
use vlm::{
    AnyVlm, Prompt, Request,
    core::{ImageEncoder, Images, Projector, VisionLanguageModel},
    text::{generate, prefill},
};

fn check(case: &str, device: &Device) {
    let (expected, tensors) = expected(case);
    let pretrained = load(case, device);
    let AnyVlm::Llava(model) = &pretrained.model else {
        panic!("{case} is no LLaVA");
    };
    let config = pretrained.generation_config(24).unwrap();
    for (index, wanted) in expected.requests.iter().enumerate() {
        let name = format!("{case}, request {index} on {device:?}");
        let images = open(case, &wanted.images);
        let request = pretrained
            .processor
            .process(&Prompt::Text(wanted.prompt.clone()), &images)
            .unwrap();
        assert_eq!(request.sequence.ids(), wanted.prompt_tokens, "{name}");
        let pixels: Vec<f32> = request
            .images
            .iter()
            .flat_map(|i| i.pixels.clone())
            .collect();
        let batch = Request::images(
            std::slice::from_ref(&request),
            device,
            pretrained.dtype().into(),
        );
        if let Some(Images::Pixels(batch)) = &batch {
            let key = |what: &str| format!("request_{index}.{what}");
            assert!(
                pixels == read(&tensors, &key("pixel_values")),
                "{name}: pixels differ"
            );
            let features = model.encoder.forward(batch);
            let error = relative_error(
                &values(features.clone()),
                &read(&tensors, &key("vision_features")),
            );
            assert!(
                error < F32,
                "{name}: features of the tower are {error:e} off"
            );
            let error = relative_error(
                &values(model.projector.forward(features)),
                &read(&tensors, &key("image_features")),
            );
            assert!(error < F32, "{name}: visual tokens are {error:e} off");
        }
        let prompt = [request.sequence];
        let prefilled = prefill(model, &prompt, batch.clone(), &config, device).unwrap();
        let logits = values(model.logits(prefilled.hidden));
        let error = relative_error(&logits, &read(&tensors, &format!("request_{index}.logits")));
        assert!(error < F32, "{name}: logits are {error:e} off");
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
fn every_layout_on_flex() {
    for case in CASES {
        check(case, &devices()[0]);
    }
}

#[test]
fn every_layout_on_ndarray() {
    for case in CASES {
        check(case, &devices()[1]);
    }
}

#[test]
fn bytes_before_normalisation() {
    use vlm::vision::processor::{PlainProcessor, ProcessorClass};
    for case in CASES {
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
