//! What Fuyu alone has: patches in the reference's order, prompts with their picture in front, boxes and points
//! in pixels, keys of two generations.

mod common;

use std::{fs, path::Path};

use burn::tensor::{Device, FloatDType};
use common::{copy, edit, folder, load};
use image::RgbImage;
use safetensors::{SafeTensors, tensor::TensorView};
use serde::Deserialize;
use serde_json::json;
use vlm::{
    AnyConfig, Error, Pretrained, Processor, Prompt, Request,
    chat_template::{
        Message, Part,
        grounding::{BoundingBox, Point},
    },
    core::{Size, VisionLanguageModel, VlmInput},
};

/// Of the tokenizers that `reference/fuyu.py` makes.
const SPEAKER: u32 = 8;
const NEWLINE: u32 = 9;
const ANSWER: u32 = 7;

#[derive(Deserialize)]
struct Places {
    prompts: Vec<Marked>,
    answers: Vec<Answer>,
}

/// A prompt with places, and its ids without the picture and the beginning of the answer.
#[derive(Deserialize)]
struct Marked {
    size: [usize; 2],
    prompt: String,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Answer {
    size: [usize; 2],
    tokens: Vec<u32>,
    text: String,
}

fn places() -> Places {
    let text = fs::read_to_string(folder("fuyu/layouts").join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn processor(case: &str) -> (AnyConfig, Processor) {
    let config = AnyConfig::from_folder(folder(case)).unwrap();
    let processor = Processor::from_folder(folder(case), &config).unwrap();
    (config, processor)
}

fn ids(processor: &Processor, prompt: &Prompt, images: &[RgbImage]) -> Result<Vec<u32>, Error> {
    let request = processor.process(prompt, images)?;
    Ok(request.sequence.ids())
}

fn text(text: &str) -> Prompt {
    Prompt::Text(text.to_owned())
}

/// What follows a picture and its `<s>`, without the beginning of the answer.
fn after_picture(ids: &[u32]) -> &[u32] {
    let start = ids.iter().rposition(|id| *id == NEWLINE).unwrap() + 2;
    assert_eq!(ids.last(), Some(&ANSWER));
    &ids[start..ids.len() - 1]
}

#[test]
fn places_of_prompts_are_scaled_as_the_reference_scales_them() {
    let (_, processor) = processor("fuyu/layouts");
    for marked in places().prompts {
        let [height, width] = marked.size;
        let (sequence, _) = processor
            .plan(&text(&marked.prompt), &[Size::new(height, width)])
            .unwrap();
        let found = sequence.ids();
        assert_eq!(
            after_picture(&found),
            marked.tokens,
            "{} at {height} × {width}",
            marked.prompt
        );
    }
}

#[test]
fn places_of_answers_are_those_of_the_reference() {
    let (config, processor) = processor("fuyu/layouts");
    let tokenizer = processor.tokenizer();
    for answer in places().answers {
        let [height, width] = answer.size;
        let size = [Size::new(height, width)];
        let found = config.decode(tokenizer, &answer.tokens, &size);
        assert_eq!(found, answer.text, "{height} × {width}");
        let grounding = config.grounding(&found, &size).unwrap().unwrap();
        assert_eq!(
            grounding.caption,
            "The picture shows a cat a cat a cat a cat a cat"
        );
        let shapes = grounding.entities.iter();
        let shapes: Vec<_> = shapes.map(|e| (e.boxes.len(), e.points.len())).collect();
        assert_eq!(shapes, [(1, 0), (1, 0), (1, 0), (0, 1), (0, 1)]);
        assert_eq!(grounding.entities[1].start, 23);
    }
    // Tokens by their names mean the same.
    let size = [Size::new(1200, 1100)];
    let named = config
        .grounding("a <0x00>10 20 300 410<0x01> cat", &size)
        .unwrap();
    let written = config
        .grounding("a <box>22, 44, 666, 910</box> cat", &size)
        .unwrap();
    assert_eq!(named, written);
    // Pixels of no picture are no places.
    let marked = "a <box>1, 2, 3, 4</box>";
    let error = config.grounding(marked, &[]).unwrap_err().to_string();
    assert!(error.contains("expected one, found none"), "{error}");
    assert!(config.grounding("a cat", &[]).unwrap().is_some());
}

#[test]
fn an_answer_points_into_its_picture() {
    let pretrained = load("fuyu/nested", &Device::flex());
    let id = |token: &str| pretrained.processor.tokenizer().token_id(token).unwrap();
    let tokens = ["▁a", "<0x00>", "3", "15", "6", "30", "<0x01>"].map(id);
    let size = [Size::new(120, 120)];
    let grounding = pretrained.grounding(&tokens, &size).unwrap().unwrap();
    assert_eq!(grounding.caption, "a");
    let entity = &grounding.entities[0];
    assert_eq!(
        (entity.text.as_str(), entity.start),
        ("<box>12, 60, 24, 120</box>", 1)
    );
    assert_eq!(entity.boxes, [BoundingBox::new(0.5, 0.1, 1.0, 0.2)]);
    // Without one there is nothing to point at.
    let alone = pretrained.grounding(&tokens, &[]).unwrap().unwrap();
    assert!(alone.entities.is_empty());
}

/// The numbers that the released model makes of these sizes.
#[test]
fn tokens_of_a_picture_are_its_rows_and_their_ends() {
    let (_, processor) = processor("fuyu/layouts");
    for (height, width, wanted) in [
        (1080, 1920, 2340),
        (480, 640, 368),
        (300, 300, 110),
        (1000, 3000, 1430),
        (29, 31, 3),
    ] {
        let size = [Size::new(height, width)];
        let (_, tokens) = processor.plan(&text("x"), &size).unwrap();
        assert_eq!(tokens, [wanted], "{height} × {width}");
    }
}

#[test]
fn malformed_answers_end_and_keep_their_text() {
    let (config, processor) = processor("fuyu/layouts");
    let tokenizer = processor.tokenizer();
    let id = |token: &str| tokenizer.token_id(token).unwrap();
    let [open, close, point, point_end] = ["<0x00>", "<0x01>", "<0x02>", "<0x03>"].map(id);
    let [one, two, word] = ["1", "12", "▁"].map(id);
    let size = [Size::new(1999, 3001)];
    let read = |tokens: &[u32]| config.decode(tokenizer, tokens, &size);
    let whole = [open, one, two, one, two, close];
    assert!(read(&whole).starts_with("<box>2, "), "{}", read(&whole));
    assert!(read(&[point, one, two, point_end]).starts_with("<point>2, "));
    for malformed in [
        &[open, one, two, one, close][..],
        &[open, one, two, one, two, one, close],
        &[open, one, two, one, word, close],
        &[open, one, two, one, two],
        &[open, one, two, one, two, point_end],
        &[open, close],
        &[close, one, two, one, two, open],
        &[point, one, point_end],
    ] {
        assert_eq!(
            read(malformed),
            tokenizer.decode(malformed),
            "{malformed:?}"
        );
    }
    // One within another, and one behind a broken one.
    assert!(read(&[&[open][..], &whole].concat()).contains("<box>"));
    // Any tokens at all.
    let mut state = 5_u64;
    let mut roll = |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % sides as u64) as usize
    };
    let likely = [open, close, point, point_end, one, two, word];
    let mut entities = 0;
    for _ in 0..3000 {
        let tokens: Vec<u32> = (0..roll(40))
            .map(|_| match roll(12) {
                0 => roll(tokenizer.vocab_size() + 3) as u32,
                _ => likely[roll(likely.len())],
            })
            .collect();
        let grounding = config.grounding(&read(&tokens), &size).unwrap().unwrap();
        entities += grounding.entities.len();
    }
    assert!(entities > 50, "{entities}");
}

#[test]
fn a_prompt_need_not_say_where_its_picture_stands() {
    let (_, processor) = processor("fuyu/nested");
    let picture = [RgbImage::new(25, 15)];
    let wanted = ids(&processor, &text("What is this?\n"), &picture).unwrap();
    let rows = [SPEAKER, SPEAKER, SPEAKER, NEWLINE];
    assert_eq!(wanted[..9], [&rows[..], &rows, &[1]].concat());
    for same in [
        "|SPEAKER|What is this?\n",
        "<s>What is this?\n",
        "|SPEAKER|<s>What is this?\n<0x04>",
    ] {
        let found = ids(&processor, &text(same), &picture).unwrap();
        assert_eq!(found, wanted, "{same}");
    }
    let question = Prompt::Question("What is this?".to_owned());
    assert_eq!(ids(&processor, &question, &picture).unwrap(), wanted);
    // Without a picture there is no beginning of an answer.
    let alone = ids(&processor, &text("What is this?\n"), &[]).unwrap();
    assert_eq!(alone, [&[1], after_picture(&wanted)].concat());
}

#[test]
fn a_message_has_boxes_and_points_without_a_template() {
    let (_, processor) = processor("fuyu/layouts");
    let picture = [RgbImage::new(640, 480)];
    let part = Part::phrase("What is in", &[BoundingBox::new(0.25, 0.125, 0.5, 1.0)]);
    let part = part.with_points(&[Point::new(1.0, 0.5)]);
    let message = Message::user(vec![Part::image(), part.clone(), Part::text("?\n")]);
    let written = "What is in<box>60, 160, 480, 320</box><point>640, 240</point>?\n";
    let messages = Prompt::Messages(vec![message.clone()]);
    assert_eq!(
        ids(&processor, &messages, &picture).unwrap(),
        ids(&processor, &text(written), &picture).unwrap()
    );
    let plain = Prompt::Messages(vec![Message::user("What is this?\n")]);
    assert_eq!(
        ids(&processor, &plain, &[]).unwrap(),
        ids(&processor, &text("What is this?\n"), &[]).unwrap()
    );
    let refused = |messages: Vec<Message>, images: &[RgbImage]| {
        let error = ids(&processor, &Prompt::Messages(messages), images);
        error.unwrap_err().to_string()
    };
    let line = refused(vec![message.clone()], &[]);
    assert!(line.contains("pixels of its image: expected one"), "{line}");
    let line = refused(vec![Message::user("Hi")], &picture);
    assert_eq!(line, "the message has 0 image part(s) for 1 image(s)");
    let line = refused(vec![message.clone(), message], &picture);
    assert!(line.contains("has no chat template"), "{line}");
}

/// As transformers' `apply_chat_template`, whose processor puts the same around any text.
#[test]
fn a_template_writes_the_text_alone() {
    let folder = copy("fuyu/nested");
    let template = "{% for message in messages %}{% for part in message.content %}\
                    {{ part.text if part.type == 'text' else '' }}{% endfor %}{% endfor %}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let config = AnyConfig::from_folder(folder.path()).unwrap();
    let processor = Processor::from_folder(folder.path(), &config).unwrap();
    let picture = [RgbImage::new(25, 15)];
    let question = Prompt::Question("What is this?".to_owned());
    let found = ids(&processor, &question, &picture).unwrap();
    let rows = [SPEAKER, SPEAKER, SPEAKER, NEWLINE];
    let wanted = [10, 34, 24, 31, 14, 94, 64, 23, 15, 46];
    assert_eq!(found, [&rows[..], &rows, &[1], &wanted, &[ANSWER]].concat());
    let alone = ids(&processor, &question, &[]).unwrap();
    assert_eq!(alone, [&[1], &wanted[..]].concat());
}

#[test]
fn prompts_that_are_none_are_one_line() {
    let (_, processor) = processor("fuyu/nested");
    let picture = RgbImage::new(25, 15);
    let refused = |prompt: &str, images: &[RgbImage]| {
        let error = ids(&processor, &text(prompt), images).unwrap_err();
        error.to_string()
    };
    let line = refused("x", &[picture.clone(), picture.clone()]);
    assert_eq!(line, "a Fuyu reads one image with a prompt, found 2");
    let one = [picture];
    let line = refused("an |SPEAKER| here", &one);
    assert!(line.ends_with("placeholder 2 has no image"), "{line}");
    let line = refused("<box>1, 2, 3</box>", &one);
    assert!(line.starts_with("expected 4 numbers in `<box>y1"), "{line}");
    let line = refused("<point>1, 4000</point>", &one);
    let wanted = "the tokenizer has no token `2000` for the coordinate 4000 of the prompt";
    assert_eq!(line, wanted);
    let line = refused("<point>-8, 4</point>", &one);
    assert!(line.contains("no token `-4`"), "{line}");
    let line = refused("x", &[RgbImage::new(2000, 1)]);
    assert!(line.contains("nothing is left of it at 0 x 90"), "{line}");
}

/// The one line that loading a damaged copy says.
fn refused(case: &str, damage: impl FnOnce(&Path)) -> String {
    let folder = copy(case);
    damage(folder.path());
    let error = Pretrained::load(folder.path(), FloatDType::F32, &Device::flex()).unwrap_err();
    error.to_string()
}

#[test]
fn damaged_folders_are_refused_by_name() {
    let config = |key: &'static str, value: serde_json::Value| {
        move |folder: &Path| edit(folder, "config.json", |json| json[key] = value)
    };
    let images = |key: &'static str, value: serde_json::Value| {
        move |folder: &Path| {
            edit(folder, "processor_config.json", |json| {
                json["image_processor"][key] = value;
            });
        }
    };
    for (line, parts) in [
        (
            refused("fuyu/nested", config("image_token_id", json!(71011))),
            ["config.json: key `image_token_id`", "expected 8"],
        ),
        (
            refused("fuyu/nested", config("patch_size", json!(12))),
            [
                "processor_config.json: key `image_processor.patch_size`",
                "the model takes 12, found 10",
            ],
        ),
        (
            refused(
                "fuyu/nested",
                images("patch_size", json!({ "height": 5, "width": 20 })),
            ),
            ["key `image_processor.patch_size`", "only squares"],
        ),
        (
            refused("fuyu/nested", images("padding_mode", json!("edge"))),
            ["key `image_processor.padding_mode`", "only \"constant\""],
        ),
        (
            refused(
                "fuyu/nested",
                images("image_processor_type", json!("CLIPImageProcessor")),
            ),
            [
                "key `image_processor.image_processor_type`",
                "expected FuyuImageProcessor",
            ],
        ),
        (
            refused("fuyu/flat", config("hidden_act", json!("relu3"))),
            ["config.json: key `hidden_act`", "unknown variant `relu3`"],
        ),
        (
            refused("fuyu/flat", config("num_attention_heads", json!(24))),
            [
                "config.json: key `partial_rotary_factor`",
                "0 rotary dimensions",
            ],
        ),
        (
            refused("fuyu/flat", |folder| {
                fs::remove_file(folder.join("preprocessor_config.json")).unwrap();
            }),
            [
                "expected image_processor in processor_config.json",
                "preprocessor_config.json",
            ],
        ),
        (
            refused("fuyu/nested", |folder| {
                edit(folder, "config.json", |json| {
                    json["text_config"]["hidden_size"] = json!(34);
                });
            }),
            [
                "query_key_value.weight: expected [102, 34], found [96, 32]",
                "of another shape",
            ],
        ),
    ] {
        assert!(!line.contains('\n'), "{line}");
        for part in parts {
            assert!(line.contains(part), "`{part}` is not in: {line}");
        }
    }
}

#[test]
fn a_tokenizer_without_the_marks_is_refused() {
    let line = refused("fuyu/nested", |folder| {
        let path = folder.join("tokenizer.json");
        let json = fs::read_to_string(&path).unwrap();
        fs::write(path, json.replace("|NEWLINE|", "|NEWROW|")).unwrap();
    });
    assert_eq!(line, "the tokenizer has no token `|NEWLINE|`");
}

/// Weights by the names that 5.23 has in memory, by those that it writes, and what both say.
#[test]
fn both_generations_of_keys_are_one_model() {
    let old = copy("fuyu/nested");
    let path = old.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.tensors().into_iter().map(|(key, tensor)| {
        let key = match key.strip_prefix("language_model.model.") {
            Some(rest) => format!("model.language_model.{rest}"),
            None if key.starts_with("vision_embed_tokens.") => format!("model.{key}"),
            None => key.replace("language_model.lm_head.", "lm_head."),
        };
        (key, tensor)
    });
    let renamed: Vec<(String, TensorView<'_>)> = renamed.collect();
    assert!(
        renamed
            .iter()
            .any(|(key, _)| key == "model.vision_embed_tokens.bias")
    );
    assert!(renamed.iter().any(|(key, _)| key == "lm_head.weight"));
    safetensors::serialize_to_file(renamed, None, &path).unwrap();
    let device = Device::flex();
    let logits = |pretrained: &Pretrained| {
        let images = [vlm::open_image(folder("images").join("coffee.png")).unwrap()];
        let request = pretrained.processor.process(&text("x"), &images).unwrap();
        let batch = Request::images(
            std::slice::from_ref(&request),
            &device,
            FloatDType::F32.into(),
        );
        let input = VlmInput::left_padded(&[request.sequence], batch, &device);
        common::values(
            pretrained
                .model
                .logits(pretrained.model.forward(input, None)),
        )
    };
    let again = Pretrained::load(old.path(), FloatDType::F32, &device).unwrap();
    let written = load("fuyu/nested", &device);
    assert!(logits(&again) == logits(&written));
    // What is saved has the fused projection and the keys that 5.23 writes.
    let saved = tempfile::tempdir().unwrap();
    again.save(saved.path()).unwrap();
    let saved = fs::read(saved.path().join("model.safetensors")).unwrap();
    let saved = SafeTensors::deserialize(&saved).unwrap();
    assert_eq!(saved.names().len(), tensors.names().len());
    for (key, tensor) in tensors.tensors() {
        let found = saved.tensor(&key).unwrap();
        assert_eq!(found.shape(), tensor.shape(), "{key}");
        assert!(found.data() == tensor.data(), "{key}");
    }
}
