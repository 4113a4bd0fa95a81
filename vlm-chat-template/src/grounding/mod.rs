//! Where in a picture the words of an answer are: one type for every family that points.

mod entity;
mod fuyu;
mod kosmos2;
mod location;
mod region;

pub use entity::{Entity, Grounding};
pub use fuyu::{FuyuMarkup, FuyuPiece};
pub use kosmos2::Kosmos2Markup;
pub use location::LocationMarkup;
pub use region::{BoundingBox, Point};
