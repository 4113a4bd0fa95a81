//! Messages as the reference passes them to a template.

use serde_json::{Map, Value};

use crate::{Error, Message};

/// The names under which a message's reasoning is passed; the first is the standard one.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// What is appended to the field to be continued, and looked for in the prompt.
const TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Drops keys that are `null` (many templates would print them) and turns OpenAI's `image_url`
/// parts into `image` parts.
pub(crate) fn normalized(messages: &[Message]) -> Vec<Map<String, Value>> {
    let normalized = messages.iter().map(|message| {
        let mut map = message.to_json();
        map.retain(|_, value| !value.is_null());
        if let Some(Value::Array(parts)) = map.get_mut("content") {
            parts.iter_mut().for_each(normalize_part);
        }
        map
    });
    normalized.collect()
}

fn normalize_part(part: &mut Value) {
    if part.get("type").and_then(Value::as_str) != Some("image_url") {
        return;
    }
    if let Some(image_url) = part.get("image_url") {
        let url = match image_url {
            Value::Object(map) => map.get("url").cloned().unwrap_or_else(|| "".into()),
            other => other.clone(),
        };
        *part = serde_json::json!({"type": "image", "url": url});
    }
}

/// Gives a message's reasoning under the names that templates read.
pub(crate) fn alias_reasoning(messages: &mut [Map<String, Value>]) {
    for message in messages {
        let value = |key: &&str| message.get(*key).filter(|value| !value.is_null());
        let Some(reasoning) = REASONING.iter().find_map(value).cloned() else {
            continue;
        };
        let mut aliased = Map::new();
        aliased.insert("thinking".into(), reasoning.clone());
        aliased.append(message);
        aliased.insert("reasoning_content".into(), reasoning);
        *message = aliased;
    }
}

/// Marks where the final message is to be continued, and later cuts the prompt there.
#[derive(Debug)]
pub(crate) struct Continuation {
    text: String,
}

impl Continuation {
    /// Appends the tag to `field` of the last message.
    pub(crate) fn mark(
        messages: &mut [Map<String, Value>],
        field: &str,
        template_source: &str,
    ) -> Result<Self, Error> {
        let last = messages.last_mut().ok_or(Error::NoMessages)?;
        let value = last.get(field).filter(|value| !value.is_null()).cloned();
        let value = value.ok_or_else(|| Error::Continue(format!("it has no \"{field}\"")))?;
        // Reasoning is there under several names: whichever the template reads is to have the tag.
        let fields: Vec<&str> = match REASONING.contains(&field) {
            true => REASONING
                .into_iter()
                .filter(|name| last.get(*name) == Some(&value))
                .collect(),
            false => vec![field],
        };
        if !fields.iter().any(|name| template_source.contains(name)) {
            return Err(Error::Continue(format!(
                "the template does not read \"{field}\""
            )));
        }
        let mut text = None;
        for name in fields {
            text = last.get_mut(name).and_then(append_tag);
        }
        let no_text = || Error::Continue(format!("its \"{field}\" has no text"));
        Ok(Continuation {
            text: text.ok_or_else(no_text)?,
        })
    }

    /// The length of the prompt up to the tag; white space that the template trimmed from the
    /// message is trimmed here as well.
    pub(crate) fn cut(&self, prompt: &str) -> Result<usize, Error> {
        match prompt.rfind(TAG.trim_end()) {
            Some(at) if prompt.contains(self.text.trim()) => {
                let kept = prompt[at..].starts_with(TAG);
                Ok(if kept {
                    at
                } else {
                    prompt[..at].trim_end().len()
                })
            }
            _ => Err(Error::Continue(format!(
                "its text does not appear in the prompt, the template drops or changes it: {:?}",
                self.text.trim()
            ))),
        }
    }
}

/// Appends the tag to a string, or to the last text of a list of parts; returns the text.
fn append_tag(value: &mut Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let untagged = text.clone();
            text.push_str(TAG);
            Some(untagged)
        }
        Value::Array(parts) => parts
            .iter_mut()
            .rev()
            .find_map(|part| append_tag(part.get_mut("text")?)),
        _ => None,
    }
}
