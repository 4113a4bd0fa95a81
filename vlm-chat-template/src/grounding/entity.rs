//! What an answer says, and which of its words stand for places.

use serde::{Deserialize, Serialize};

use super::{BoundingBox, Point};

/// An answer without its markup, and what the markup said.
///
/// ```
/// use vlm_chat_template::grounding::Kosmos2Markup;
///
/// let answer = "<grounding> By<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>.";
/// let grounding = Kosmos2Markup::default().parse(answer);
/// assert_eq!(
///     serde_json::to_string(&grounding)?,
///     r#"{"caption":"By a fire.","entities":[{"text":"a fire","start":3,"end":9,"boxes":[[0.171875,0.015625,0.484375,0.890625]]}]}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grounding {
    /// The text without markup.
    pub caption: String,
    /// In the order of the answer.
    pub entities: Vec<Entity>,
}

/// Words of an answer with their places in the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// The words; what stands for them where the answer has none is the family's.
    pub text: String,
    /// First character of the words in the caption. Characters are code points, as in the reference.
    ///
    /// Signed because the reference's offsets are: an entity without words in front of the caption's first
    /// character has `-1`.
    pub start: i64,
    /// The character after the words; `start` where there are none.
    pub end: i64,
    /// Rectangles.
    pub boxes: Vec<BoundingBox>,
    /// Points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
}
