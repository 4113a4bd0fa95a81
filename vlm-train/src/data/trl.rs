//! The forms of TRL: `messages`, `prompt` and `completion`, `text`.
//!
//! ```text
//! {"images": ["cup.png"], "messages": [
//!     {"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A cup."}]}
//! ->
//! user       [image, "What is it?"]
//! assistant  "A cup."
//! pictures   cup.png
//!
//! {"images": ["a.png"], "messages": [{"role": "user", "content": [
//!     {"type": "image"}, {"type": "image", "path": "b.png"}, {"type": "text", "text": "Compare."}]}]}
//! ->
//! user       [image, image, "Compare."]
//! pictures   a.png b.png
//! ```

use std::path::Path;

use serde_json::Value;
use vlm_chat_template::{Content, Message, Part, PartKind};

use super::{
    Body, Picture,
    form::{Found, Object, count_mismatch, file},
};

/// The roles that TRL's `prepare_multimodal_messages` takes.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// What the object says, and its pictures in the order of their places.
pub(super) fn body(
    mut object: Object,
    listed: Vec<Picture>,
    home: &Path,
) -> Found<(Body, Vec<Picture>)> {
    let mut take = |key: &str| object.shift_remove(key).filter(|value| !value.is_null());
    if let Some(value) = take("messages").or_else(|| take("conversations")) {
        let mut messages = messages(value, "messages")?;
        let pictures = place(&mut [&mut messages], listed, home)?;
        return Ok((Body::Conversation(messages), pictures));
    }
    match (take("prompt"), take("completion"), take("text")) {
        (Some(Value::String(prompt)), Some(Value::String(completion)), _) => {
            Ok((Body::Completed { prompt, completion }, listed))
        }
        (Some(prompt @ Value::Array(_)), Some(completion @ Value::Array(_)), _) => {
            let mut prompt = messages(prompt, "prompt")?;
            let mut completion = messages(completion, "completion")?;
            let pictures = place(&mut [&mut prompt, &mut completion], listed, home)?;
            Ok((Body::Continued { prompt, completion }, pictures))
        }
        (Some(_), Some(_), _) => Err(
            "keys `prompt` and `completion`: expected two strings or two lists of messages".to_owned(),
        ),
        (Some(_), None, _) => Err("key `completion` is missing beside `prompt`".to_owned()),
        (None, Some(_), _) => Err("key `prompt` is missing beside `completion`".to_owned()),
        (None, None, Some(Value::String(text))) => Ok((Body::Text(text), listed)),
        (None, None, Some(value)) => Err(format!("key `text`: expected a string, found {value}")),
        (None, None, None) => Err(
            "expected the key `messages`, the keys `prompt` and `completion`, `conversations` or `text`"
                .to_owned(),
        ),
    }
}

fn messages(value: Value, key: &str) -> Found<Vec<Message>> {
    let messages: Vec<Message> = match value {
        Value::Array(values) => {
            let message = |(index, mut value)| {
                drop_nulls(&mut value);
                serde_json::from_value(value)
                    .map_err(|error| format!("key `{key}`: message {}: {error}", index + 1))
            };
            values
                .into_iter()
                .enumerate()
                .map(message)
                .collect::<Found<_>>()?
        }
        value => {
            return Err(format!(
                "key `{key}`: expected a list of messages, found {value}"
            ));
        }
    };
    if messages.is_empty() {
        return Err(format!("key `{key}`: expected a message, found none"));
    }
    let known = |message: &Message| ROLES.contains(&message.role.as_str());
    match messages.iter().position(|message| !known(message)) {
        None => Ok(messages),
        Some(index) => Err(format!(
            "key `{key}`: message {}: unknown role `{}`: expected one of {}",
            index + 1,
            messages[index].role,
            ROLES.join(", ")
        )),
    }
}

/// Drops the keys of parts that are null, which Arrow's tables give to every part that lacks what another has:
/// templates ask whether a key is there.
fn drop_nulls(message: &mut Value) {
    let parts = message.get_mut("content").and_then(Value::as_array_mut);
    for part in parts.into_iter().flatten().filter_map(Value::as_object_mut) {
        part.retain(|_, value| !value.is_null());
    }
}

/// Gives each image part its picture: its own, or the next that is listed. Where no part is there at all, the
/// listed ones get theirs before the first text of the user that is a plain string.
fn place(
    turns: &mut [&mut Vec<Message>],
    listed: Vec<Picture>,
    home: &Path,
) -> Found<Vec<Picture>> {
    let mut all = turns.iter_mut().flat_map(|messages| messages.iter_mut());
    let has_part = |message: &Message| message.parts().iter().any(Part::is_image);
    if !all.any(|message| has_part(message)) {
        let mut all = turns.iter_mut().flat_map(|messages| messages.iter_mut());
        let first = all.find_map(|message| match &message.content {
            Some(Content::Text(text)) if message.role == "user" => {
                let text = Part::text(text);
                Some((message, text))
            }
            _ => None,
        });
        if let Some((message, text)) = first.filter(|_| !listed.is_empty()) {
            let parts = std::iter::repeat_with(Part::image).take(listed.len());
            message.content = Some(Content::Parts(parts.chain([text]).collect()));
        }
    }
    let count = listed.len();
    let mut listed = listed.into_iter();
    let (mut pictures, mut places) = (Vec::new(), 0);
    for part in turns
        .iter_mut()
        .flat_map(|messages| messages.iter_mut())
        .flat_map(|message| match &mut message.content {
            Some(Content::Parts(parts)) => parts.iter_mut(),
            _ => [].iter_mut(),
        })
    {
        let PartKind::Image(own) = part.kind() else {
            continue;
        };
        match own.map(|path| file(path, home)).transpose()? {
            Some(own) => {
                pictures.push(own);
                *part = Part::image();
            }
            None => {
                places += 1;
                pictures.extend(listed.next());
            }
        }
    }
    match places == count {
        true => Ok(pictures),
        false => Err(count_mismatch(count, places, "image part(s)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value, listed: &[&str]) -> Found<(Body, Vec<Picture>)> {
        let Value::Object(object) = value else {
            panic!("an object")
        };
        let listed = listed.iter().map(|path| Picture::File(path.into()));
        body(object, listed.collect(), Path::new("home"))
    }

    fn conversation(value: Value, listed: &[&str]) -> (Value, Vec<String>) {
        let (body, pictures) = read(json!({"messages": value}), listed).unwrap();
        let Body::Conversation(messages) = body else {
            panic!("a conversation")
        };
        let names = pictures.iter().map(Picture::name).collect();
        (serde_json::to_value(messages).unwrap(), names)
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    #[test]
    fn pictures_go_before_the_first_text_of_the_user() {
        let messages = json!([
            {"role": "system", "content": "S"}, {"role": "user", "content": "A"}, {"role": "user", "content": "B"},
        ]);
        let image = json!({"type": "image"});
        let expected = json!([
            {"role": "system", "content": "S"},
            {"role": "user", "content": [image, image, text("A")]},
            {"role": "user", "content": "B"},
        ]);
        assert_eq!(conversation(messages.clone(), &["a", "b"]).0, expected);
        assert_eq!(conversation(messages.clone(), &[]).0, messages);
    }

    #[test]
    fn keys_of_parts_that_are_null_are_none() {
        let messages = json!([{"role": "user", "content": [
            {"type": "image", "text": null, "path": null}, {"type": "text", "text": "A", "index": null},
        ]}]);
        let (messages, names) = conversation(messages, &["a"]);
        assert_eq!(
            messages[0]["content"],
            json!([{"type": "image"}, text("A")])
        );
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn a_part_may_have_its_own_picture() {
        let messages = json!([
            {"role": "user", "content": [{"type": "image"}, {"type": "image", "path": "own"}, text("A")]},
            {"role": "user", "content": "B"},
            {"role": "user", "content": [{"type": "image"}]},
        ]);
        let (messages, names) = conversation(messages, &["a", "b"]);
        assert_eq!(names, ["a", "home/own", "b"]);
        let image = json!({"type": "image"});
        assert_eq!(messages[0]["content"], json!([image, image, text("A")]));
        assert_eq!(messages[1]["content"], "B");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let user = json!([{"role": "user", "content": [{"type": "image"}]}]);
        for (value, listed, message) in [
            (json!({}), 0, "expected the key `messages`"),
            (json!({"prompt": "a"}), 0, "key `completion` is missing"),
            (json!({"completion": "a"}), 0, "key `prompt` is missing"),
            (
                json!({"prompt": "a", "completion": []}),
                0,
                "keys `prompt` and `completion`: expected two",
            ),
            (json!({"text": 1}), 0, "key `text`: expected a string"),
            (
                json!({"messages": "a"}),
                0,
                "key `messages`: expected a list",
            ),
            (
                json!({"messages": []}),
                0,
                "key `messages`: expected a message",
            ),
            (
                json!({"messages": [{"content": "a"}]}),
                0,
                "key `messages`: message 1: a message should have a `role`",
            ),
            (
                json!({"messages": [{"role": "bot", "content": "a"}]}),
                0,
                "key `messages`: message 1: unknown role `bot`: expected one of system, user, assistant, tool",
            ),
            (
                json!({"messages": user}),
                2,
                "2 image(s) are listed, and 1 image part(s) stand in the text",
            ),
            (
                json!({"messages": user}),
                0,
                "0 image(s) are listed, and 1 image part(s) stand in the text",
            ),
            (
                json!({"messages": [{"role": "assistant", "content": "a"}]}),
                1,
                "1 image(s) are listed, and 0 image part(s) stand in the text",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image", "url": "http://a/b"}]}]}),
                0,
                "image http://a/b: expected the path of a file",
            ),
        ] {
            let error = read(value, &["a", "b"][..listed]).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
