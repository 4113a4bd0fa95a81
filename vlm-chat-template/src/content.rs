//! What a message says: a plain string, or text and images in order.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    Error,
    grounding::{BoundingBox, Point},
};

/// The content of a [`Message`](crate::Message).
///
/// A string stays a string and a list stays a list: templates tell them apart by
/// `content is string`.
///
/// ```
/// use vlm_chat_template::{Content, Part};
///
/// assert_eq!(Content::from("Hi"), serde_json::from_str(r#""Hi""#)?);
/// assert_eq!(
///     Content::from(vec![Part::image(), Part::text("Hi")]),
///     serde_json::from_str(r#"[{"type": "image"}, {"type": "text", "text": "Hi"}]"#)?,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// A plain string.
    Text(String),
    /// Parts in order.
    Parts(Vec<Part>),
    /// Anything else, such as the JSON object of a tool's answer; passed as it is.
    Other(Value),
}

impl Content {
    /// The content as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Content::Text(text) => Value::from(text.as_str()),
            Content::Parts(parts) => parts.iter().map(|part| part.0.clone()).collect(),
            Content::Other(json) => json.clone(),
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::Text(text.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content::Text(text)
    }
}

impl From<Vec<Part>> for Content {
    fn from(parts: Vec<Part>) -> Self {
        Content::Parts(parts)
    }
}

impl From<Value> for Content {
    fn from(json: Value) -> Self {
        match json {
            Value::String(text) => Content::Text(text),
            Value::Array(parts) => Content::Parts(parts.into_iter().map(Part).collect()),
            other => Content::Other(other),
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Content::from)
    }
}

/// One part of a content, kept as the JSON it came from.
///
/// [`kind`](Self::kind) says what it is.
///
/// ```
/// use vlm_chat_template::{Part, PartKind};
///
/// let part: Part = serde_json::from_str(r#"{"type": "image", "path": "cat.png"}"#)?;
/// assert_eq!(part, Part::image().with("path", "cat.png"));
/// assert_eq!(part.kind(), PartKind::Image(Some("cat.png")));
/// assert_eq!(Part::text("Hi").kind(), PartKind::Text("Hi"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Part(Value);

/// What a [`Part`] is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PartKind<'a> {
    /// Text.
    Text(&'a str),
    /// An image, with its path or address when it has one. OpenAI's `image_url` counts as well.
    Image(Option<&'a str>),
    /// Words that stand for places in the image: see [`Part::boxes`] and [`Part::points`].
    Phrase(&'a str),
    /// Anything else: a video, an audio, a kind of the future.
    Other(&'a Value),
}

impl Part {
    /// `{"type": "text", "text": …}`
    pub fn text(text: impl Into<String>) -> Self {
        Part(Value::Object(Map::from_iter([
            ("type".to_owned(), Value::from("text")),
            ("text".to_owned(), Value::from(text.into())),
        ])))
    }

    /// `{"type": "image"}`
    pub fn image() -> Self {
        Part(Value::Object(Map::from_iter([(
            "type".to_owned(),
            Value::from("image"),
        )])))
    }

    /// `{"type": "phrase", "text": …, "boxes": [[x0, y0, x1, y1], …]}`: words with their places in the image.
    ///
    /// Chat templates know no such part; a family's markup writes it, such as
    /// [`Kosmos2Markup::prompt`](crate::grounding::Kosmos2Markup::prompt) and
    /// [`FuyuMarkup::prompt`](crate::grounding::FuyuMarkup::prompt).
    ///
    /// ```
    /// use vlm_chat_template::{Part, PartKind, grounding::BoundingBox};
    ///
    /// let place = BoundingBox::new(0.1, 0.2, 0.3, 0.4);
    /// let part = Part::phrase("a dog", &[place]);
    /// assert_eq!(part.kind(), PartKind::Phrase("a dog"));
    /// assert_eq!(part.boxes()?, [place]);
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn phrase(text: impl Into<String>, boxes: &[BoundingBox]) -> Self {
        let boxes: Vec<Value> = boxes
            .iter()
            .map(|edges| Value::from(<[f64; 4]>::from(*edges).to_vec()))
            .collect();
        Part(Value::Object(Map::from_iter([
            ("type".to_owned(), Value::from("phrase")),
            ("text".to_owned(), Value::from(text.into())),
            ("boxes".to_owned(), Value::from(boxes)),
        ])))
    }

    /// Adds `"points": [[x, y], …]` to a [`phrase`](Self::phrase).
    ///
    /// ```
    /// use vlm_chat_template::{Part, grounding::Point};
    ///
    /// let part = Part::phrase("the nose", &[]).with_points(&[Point::new(0.5, 0.4)]);
    /// assert_eq!(part.points()?, [Point::new(0.5, 0.4)]);
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn with_points(self, points: &[Point]) -> Self {
        let points = points
            .iter()
            .map(|point| Value::from(<[f64; 2]>::from(*point).to_vec()));
        self.with("points", points.collect::<Value>())
    }

    /// The points of a [`phrase`](Self::phrase); none where the part has no key `points`.
    ///
    /// # Errors
    ///
    /// When `points` is not a list of two numbers each.
    pub fn points(&self) -> Result<Vec<Point>, Error> {
        match self.0.get("points") {
            None => Ok(Vec::new()),
            Some(points) => Vec::deserialize(points).map_err(|error| {
                Error::Grounding(format!(
                    "`points` should be a list of [x, y]: {error} (found {points})"
                ))
            }),
        }
    }

    /// The boxes of a [`phrase`](Self::phrase); none where the part has no key `boxes`.
    ///
    /// # Errors
    ///
    /// When `boxes` is not a list of four numbers each.
    pub fn boxes(&self) -> Result<Vec<BoundingBox>, Error> {
        match self.0.get("boxes") {
            None => Ok(Vec::new()),
            Some(boxes) => Vec::deserialize(boxes).map_err(|error| {
                Error::Grounding(format!(
                    "`boxes` should be a list of [x0, y0, x1, y1]: {error} (found {boxes})"
                ))
            }),
        }
    }

    /// Sets another key, such as `path`. A part that is no JSON object is left as it is.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        if let Value::Object(map) = &mut self.0 {
            map.insert(key.into(), value.into());
        }
        self
    }

    /// What the part is.
    pub fn kind(&self) -> PartKind<'_> {
        match self.0.get("type").and_then(Value::as_str) {
            Some("text") => self
                .0
                .get("text")
                .and_then(Value::as_str)
                .map(PartKind::Text),
            Some("phrase") => self
                .0
                .get("text")
                .and_then(Value::as_str)
                .map(PartKind::Phrase),
            Some("image") => Some(PartKind::Image(
                ["image", "url", "path"]
                    .iter()
                    .find_map(|key| self.0.get(key)?.as_str()),
            )),
            Some("image_url") => self
                .0
                .get("image_url")
                .map(|url| PartKind::Image(url.as_str().or_else(|| url.get("url")?.as_str()))),
            _ => None,
        }
        .unwrap_or(PartKind::Other(&self.0))
    }

    /// Whether the part is an image.
    pub fn is_image(&self) -> bool {
        matches!(self.kind(), PartKind::Image(_))
    }

    /// The part as JSON.
    pub fn as_json(&self) -> &Value {
        &self.0
    }
}

impl From<Value> for Part {
    fn from(json: Value) -> Self {
        Part(json)
    }
}
