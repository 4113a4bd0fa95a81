//! What Kosmos-2 alone has: the tower's normalised output, prompts with one picture in front, boxes in text.

mod common;

use burn::tensor::Device;
use common::{F32, expected, folder, load, open, read, relative_error, values};
use image::RgbImage;
use serde::Deserialize;
use vlm::{
    AnyConfig, AnyVlm, Error, Processor, Prompt, Request,
    chat_template::{
        Message, Part,
        grounding::{BoundingBox, Entity, Grounding, Kosmos2Markup, Point},
    },
    core::{ImageEncoder, Images},
    vision::processor::{PlainProcessor, ProcessorClass},
};

const CASES: [&str; 2] = ["kosmos2/grounding", "kosmos2/older"];

/// Patches per side of each case's grid.
const SIDES: [u32; 2] = [4, 32];

#[derive(Deserialize)]
struct Marked {
    prompt: String,
    unmarked: Option<String>,
    #[serde(default)]
    boxes: Vec<Vec<BoundingBox>>,
    text: String,
    caption: String,
    entities: Vec<Entity>,
}

fn marked(case: &str) -> Vec<Marked> {
    #[derive(Deserialize)]
    struct File {
        requests: Vec<Marked>,
    }
    let text = std::fs::read_to_string(folder(case).join("expected.json")).unwrap();
    serde_json::from_str::<File>(&text).unwrap().requests
}

fn processor(case: &str) -> Processor {
    let config = AnyConfig::from_folder(folder(case)).unwrap();
    Processor::from_folder(folder(case), &config).unwrap()
}

fn picture() -> RgbImage {
    RgbImage::new(30, 20)
}

fn ids(processor: &Processor, text: &str, images: &[RgbImage]) -> Result<Vec<u32>, Error> {
    let request = processor.process(&Prompt::Text(text.to_owned()), images)?;
    Ok(request.sequence.ids())
}

#[test]
fn features_and_bytes_are_transformers() {
    let device = Device::flex();
    for case in CASES {
        let (expected, tensors) = expected(case);
        let file = std::fs::read(folder(case).join("expected.safetensors")).unwrap();
        let bytes = safetensors::SafeTensors::deserialize(&file).unwrap();
        let pretrained = load(case, &device);
        let AnyVlm::Kosmos2(model) = &pretrained.model else {
            panic!("{case} is no Kosmos-2");
        };
        let plain = PlainProcessor::read(&folder(case), Some(ProcessorClass::Clip)).unwrap();
        for (index, wanted) in expected.requests.iter().enumerate() {
            let images = open(case, &wanted.images);
            let small = plain.picture(&images[0]).unwrap();
            let planes = (0..3).flat_map(|c| small.pixels().map(move |p| p.0[c]));
            let key = format!("request_{index}.pixel_u8");
            assert!(planes.eq(bytes.tensor(&key).unwrap().data().iter().copied()));
            let prompt = Prompt::Text(wanted.prompt.clone());
            let request = pretrained.processor.process(&prompt, &images).unwrap();
            let Some(Images::Pixels(batch)) =
                Request::images(&[request], &device, pretrained.dtype().into())
            else {
                panic!("{case}, request {index} has no picture");
            };
            let features = values(model.encoder.forward(&batch));
            let wanted = read(&tensors, &format!("request_{index}.vision_features"));
            let error = relative_error(&features, &wanted);
            assert!(error < F32, "{case}, request {index}: {error:e} off");
        }
    }
}

#[test]
fn boxes_go_into_prompts_and_come_out_of_answers() {
    for (case, side) in CASES.into_iter().zip(SIDES) {
        let config = AnyConfig::from_folder(folder(case)).unwrap();
        for request in marked(case) {
            let unmarked = request.unmarked.as_ref().unwrap_or(&request.prompt);
            let written = Kosmos2Markup::new(side).insert_boxes(unmarked, &request.boxes);
            assert_eq!(written.unwrap(), request.prompt);
            let wanted = Grounding {
                caption: request.caption,
                entities: request.entities,
            };
            let found = config.grounding(&request.text, &[]).unwrap();
            assert_eq!(found, Some(wanted));
        }
    }
    let llava = AnyConfig::from_folder(folder("llava/clip-llama")).unwrap();
    assert_eq!(llava.grounding("<phrase>", &[]).unwrap(), None);
}

#[test]
fn a_prompt_need_not_say_where_its_picture_stands() {
    for case in CASES {
        let processor = processor(case);
        let wanted = ids(&processor, "<grounding> An image", &[picture()]).unwrap();
        for same in [
            "  <grounding> An image\n",
            "<s><grounding> An image",
            "<image><grounding> An image",
            "<s> <image> </image> <grounding> An image",
        ] {
            let found = ids(&processor, same, &[picture()]).unwrap();
            assert_eq!(found, wanted, "{case}: {same}");
        }
        let alone = ids(&processor, "<grounding> An image", &[]).unwrap();
        let latents = wanted.len() - alone.len() - 2;
        assert_eq!(alone[0], wanted[0]);
        assert_eq!(alone[1..], wanted[latents + 3..], "{case}");
    }
}

#[test]
fn a_message_has_boxes_without_a_template() {
    let processor = processor("kosmos2/grounding");
    let message = |part: Part| {
        let parts = [
            Part::image(),
            Part::text("<grounding>"),
            part,
            Part::text(" is"),
        ];
        let prompt = Prompt::Messages(vec![Message::user(parts.to_vec())]);
        processor.process(&prompt, &[picture()])
    };
    // "<grounding><phrase> It</phrase> is", of which the fixture has the boxes.
    let request = marked("kosmos2/grounding").remove(2);
    let found = message(Part::phrase(" It", &request.boxes[0])).unwrap();
    let written = ids(&processor, &request.prompt, &[picture()]).unwrap();
    assert_eq!(found.sequence.ids(), written);
    let points = Part::phrase(" It", &[]).with_points(&[Point::new(0.5, 0.5)]);
    let error = message(points).unwrap_err().to_string();
    assert_eq!(error, "this markup has boxes and no points");
}

#[test]
fn a_template_writes_the_text_alone() {
    let copy = common::copy("kosmos2/grounding");
    let template = "{{ messages[0].content[1].text }}";
    std::fs::write(copy.path().join("chat_template.jinja"), template).unwrap();
    let config = AnyConfig::from_folder(copy.path()).unwrap();
    let processor = Processor::from_folder(copy.path(), &config).unwrap();
    let question = Prompt::Question("<grounding> An image".to_owned());
    let found = processor.process(&question, &[picture()]).unwrap();
    let wanted = ids(&processor, "<grounding> An image", &[picture()]).unwrap();
    assert_eq!(found.sequence.ids(), wanted);
}

#[test]
fn a_second_picture_is_refused() {
    let processor = processor("kosmos2/grounding");
    let error = ids(&processor, "Compare", &[picture(), picture()]).unwrap_err();
    let wanted = "a Kosmos-2 reads one image with a prompt, found 2";
    assert_eq!(error.to_string(), wanted);
    let error = ids(&processor, "an <image> in between", &[picture()]).unwrap_err();
    assert!(
        error.to_string().contains("placeholder 2 has no image"),
        "{error}"
    );
}

#[test]
fn a_tokenizer_without_tags_gets_them() {
    let processor = processor("kosmos2/older");
    let json = std::fs::read_to_string(folder("kosmos2/older").join("tokenizer.json")).unwrap();
    assert!(!json.contains("<grounding>"));
    let id = |token: &str| processor.tokenizer().token_id(token).unwrap();
    assert_eq!(id("<patch_index_1023>"), id("</doc>") + 11 + 1023);
    assert_eq!(processor.tokenizer().token_id("<patch_index_1024>"), None);
}

#[test]
fn padding_in_a_prompt_has_no_position() {
    for case in CASES {
        let error = ids(&processor(case), "a <pad> b", &[]).unwrap_err();
        let expected = "a Kosmos-2 has no position for `<pad>`, which stands in the prompt";
        assert_eq!(error.to_string(), expected, "{case}");
    }
}
