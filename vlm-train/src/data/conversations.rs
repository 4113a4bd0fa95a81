//! LLaVA's form: `conversations` between a human and the model, `<image>` in the human's text.
//!
//! ```text
//! {"image": "cup.png", "conversations": [
//!     {"from": "human", "value": "What is it?\n<image>"}, {"from": "gpt", "value": "A cup."}]}
//! ->
//! user       [image, "What is it?"]
//! assistant  "A cup."
//! pictures   cup.png
//! ```
//!
//! The one `<image>` of a turn goes to its front, as in LLaVA's `preprocess_multimodal`; several stay where they
//! are (as in that of LLaVA-NeXT), without the line break after each, which chat templates write themselves.

use serde_json::Value;
use vlm_chat_template::{Message, Part};

use super::{
    Body, Picture,
    form::{Found, Object, count_mismatch},
};

const PLACEHOLDER: &str = "<image>";

/// Whether the object has LLaVA's form.
pub(super) fn is_one(object: &Object) -> bool {
    let turns = object.get("conversations").and_then(Value::as_array);
    turns.is_some_and(|turns| turns.iter().all(|turn| turn.get("role").is_none()))
}

/// What the object says, and its pictures.
pub(super) fn body(mut object: Object, listed: Vec<Picture>) -> Found<(Body, Vec<Picture>)> {
    let Some(Value::Array(turns)) = object.shift_remove("conversations") else {
        return Err("key `conversations`: expected a list of turns".to_owned());
    };
    if turns.is_empty() {
        return Err("key `conversations`: expected a turn, found none".to_owned());
    }
    let (mut messages, mut places) = (Vec::with_capacity(turns.len()), 0);
    for (index, turn) in turns.iter().enumerate() {
        let text = |key: &str| {
            let value = turn.get(key).and_then(Value::as_str);
            value.ok_or_else(|| {
                format!(
                    "key `conversations`: turn {}: expected a string `{key}`",
                    index + 1
                )
            })
        };
        let value = text("value")?;
        messages.push(match text("from")? {
            "human" | "user" => {
                places += value.matches(PLACEHOLDER).count();
                human(value)
            }
            "gpt" | "assistant" => Message::assistant(value),
            "system" => Message::system(value),
            other => {
                return Err(format!(
                    "key `conversations`: turn {}: unknown role `{other}`: expected human, gpt or system",
                    index + 1
                ));
            }
        });
    }
    match places == listed.len() {
        true => Ok((Body::Conversation(messages), listed)),
        false => Err(count_mismatch(listed.len(), places, "`<image>`")),
    }
}

fn human(value: &str) -> Message {
    match value.matches(PLACEHOLDER).count() {
        0 => Message::user(value),
        1 => {
            let text = value.replace(PLACEHOLDER, "");
            let text = Some(text.trim()).filter(|text| !text.is_empty());
            let parts = [Part::image()].into_iter().chain(text.map(Part::text));
            Message::user(parts.collect::<Vec<_>>())
        }
        _ => {
            let mut parts = Vec::new();
            for (index, text) in value.trim().split(PLACEHOLDER).enumerate() {
                let after = text.strip_prefix('\n').filter(|_| index > 0);
                let text = after.unwrap_or(text);
                parts.extend((index > 0).then(Part::image));
                parts.extend((!text.is_empty()).then(|| Part::text(text)));
            }
            Message::user(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn user(value: &str) -> Value {
        serde_json::to_value(human(value)).unwrap()["content"].take()
    }

    #[test]
    fn one_picture_goes_to_the_front_and_several_stay() {
        let (image, text) = (
            json!({"type": "image"}),
            |text| json!({"type": "text", "text": text}),
        );
        assert_eq!(user("What?"), "What?");
        assert_eq!(user("<image>\nWhat?"), json!([image, text("What?")]));
        assert_eq!(user("What?\n<image>"), json!([image, text("What?")]));
        assert_eq!(user("<image>"), json!([image]));
        assert_eq!(
            user("<image>\n<image>\nWhat?"),
            json!([image, image, text("What?")])
        );
        assert_eq!(
            user("Is <image> like <image>?"),
            json!([text("Is "), image, text(" like "), image, text("?")])
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let picture = |path: &&str| Picture::File(path.into());
        for (turns, listed, message) in [
            (
                json!([]),
                0,
                "key `conversations`: expected a turn, found none",
            ),
            (
                json!([{"from": "robot", "value": "a"}]),
                0,
                "key `conversations`: turn 1: unknown role `robot`: expected human, gpt or system",
            ),
            (
                json!([{"from": "human"}]),
                0,
                "key `conversations`: turn 1: expected a string `value`",
            ),
            (
                json!([{"from": "human", "value": "<image>"}]),
                2,
                "2 image(s) are listed, and 1 `<image>` stand in the text",
            ),
        ] {
            let object = Object::from_iter([("conversations".to_owned(), turns)]);
            assert!(is_one(&object));
            let listed = ["a", "b"][..listed].iter().map(picture).collect();
            let error = body(object, listed).unwrap_err();
            assert_eq!(error, message);
        }
    }
}
