//! One message of a conversation.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

use crate::{Content, Part};

/// One message of a conversation: a role, a content, and any other keys (`tool_calls`, `name`,
/// `reasoning_content`, …).
///
/// It reads and writes the JSON form of chat datasets and remembers the order of the keys,
/// because a template can see it (`message | tojson`).
///
/// ```
/// use vlm_chat_template::{Content, Message};
///
/// let message: Message = serde_json::from_str(
///     r#"{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}"#,
/// )?;
/// assert_eq!(message, Message::user("What is it?").with_image());
/// assert_eq!(message.role, "user");
/// assert!(matches!(message.content, Some(Content::Parts(_))));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what the template knows.
    pub role: String,
    /// What is said. `None` when the key is missing or `null`, as in a message of only tool calls.
    pub content: Option<Content>,
    /// All other keys, in order.
    pub extra: Map<String, Value>,
    // Places of role and content among the keys.
    order: [usize; 2],
}

impl Message {
    /// A message of any role.
    ///
    /// ```
    /// # use vlm_chat_template::Message;
    /// assert_eq!(Message::new("tool", "21 °C").role, "tool");
    /// ```
    pub fn new(role: impl Into<String>, content: impl Into<Content>) -> Self {
        Message {
            role: role.into(),
            content: Some(content.into()),
            extra: Map::new(),
            order: [0, 1],
        }
    }

    /// A system message.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new("system", content)
    }

    /// A user message.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new("user", content)
    }

    /// An assistant message.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new("assistant", content)
    }

    /// Puts an image after the images that are there already and before everything else, where
    /// most models were trained to see it. A plain string becomes a text part.
    ///
    /// ```
    /// # use vlm_chat_template::Message;
    /// let message = Message::user("Compare them.").with_image().with_image();
    /// assert_eq!(
    ///     serde_json::to_string(&message)?,
    ///     r#"{"role":"user","content":[{"type":"image"},{"type":"image"},{"type":"text","text":"Compare them."}]}"#
    /// );
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn with_image(self) -> Self {
        self.with_image_part(Part::image())
    }

    /// As [`with_image`](Self::with_image), with the image's path.
    ///
    /// ```
    /// # use vlm_chat_template::{image_names, Message};
    /// let message = Message::user("What is it?").with_image_path("cat.png");
    /// assert_eq!(image_names(&[message]), ["cat.png"]);
    /// ```
    pub fn with_image_path(self, path: impl Into<String>) -> Self {
        self.with_image_part(Part::image().with("path", path.into()))
    }

    /// As [`with_image`](Self::with_image), with the image's address.
    pub fn with_image_url(self, url: impl Into<String>) -> Self {
        self.with_image_part(Part::image().with("url", url.into()))
    }

    /// Appends a part. A plain string becomes a text part first.
    ///
    /// ```
    /// # use vlm_chat_template::{Message, Part};
    /// let message = Message::user("Before").with_part(Part::image()).with_part(Part::text("after"));
    /// assert_eq!(message.parts().len(), 3);
    /// ```
    pub fn with_part(mut self, part: Part) -> Self {
        let mut parts = self.take_parts();
        parts.push(part);
        self.content = Some(Content::Parts(parts));
        self
    }

    /// Sets one of the other keys.
    ///
    /// ```
    /// # use vlm_chat_template::Message;
    /// let message = Message::assistant("4").with("reasoning_content", "2 + 2");
    /// assert_eq!(message.extra["reasoning_content"], "2 + 2");
    /// ```
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }

    /// The parts of the content; none when it is a plain string.
    pub fn parts(&self) -> &[Part] {
        match &self.content {
            Some(Content::Parts(parts)) => parts,
            _ => &[],
        }
    }

    /// The message as the JSON object that templates see, keys in order.
    ///
    /// ```
    /// # use vlm_chat_template::Message;
    /// let message: Message = serde_json::from_str(r#"{"content": "Hi", "name": "Ann", "role": "user"}"#)?;
    /// assert_eq!(message.to_json().keys().collect::<Vec<_>>(), ["content", "name", "role"]);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_json(&self) -> Map<String, Value> {
        let mut own = vec![(self.order[0], "role", Value::from(self.role.as_str()))];
        if let Some(content) = &self.content {
            own.push((self.order[1], "content", content.to_json()));
        }
        own.sort_by_key(|(place, ..)| *place);
        let mut own = own.into_iter().peekable();
        let mut map = Map::new();
        let mut extra = self.extra.iter();
        loop {
            if let Some((_, key, value)) = own.next_if(|(place, ..)| *place <= map.len()) {
                map.insert(key.into(), value);
            } else if let Some((key, value)) = extra.next() {
                map.insert(key.clone(), value.clone());
            } else if let Some((_, key, value)) = own.next() {
                map.insert(key.into(), value);
            } else {
                return map;
            }
        }
    }

    fn with_image_part(mut self, part: Part) -> Self {
        let mut parts = self.take_parts();
        let at = parts.iter().take_while(|part| part.is_image()).count();
        parts.insert(at, part);
        self.content = Some(Content::Parts(parts));
        self
    }

    fn take_parts(&mut self) -> Vec<Part> {
        match self.content.take() {
            Some(Content::Parts(parts)) => parts,
            Some(Content::Text(text)) => vec![Part::text(text)],
            Some(Content::Other(json)) => vec![Part::from(json)],
            None => Vec::new(),
        }
    }
}

impl TryFrom<Map<String, Value>> for Message {
    type Error = String;

    fn try_from(mut map: Map<String, Value>) -> Result<Self, String> {
        let place = |key| map.keys().position(|k| k == key);
        let order = [place("role").unwrap_or(0), place("content").unwrap_or(1)];
        let role = match map.shift_remove("role") {
            Some(Value::String(role)) => role,
            Some(other) => return Err(format!("`role` should be a string, found {other}")),
            None => return Err("a message should have a `role`".into()),
        };
        let content = match map.shift_remove("content") {
            None | Some(Value::Null) => None,
            Some(json) => Some(Content::from(json)),
        };
        Ok(Message {
            role,
            content,
            extra: map,
            order,
        })
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        Message::try_from(map).map_err(D::Error::custom)
    }
}
