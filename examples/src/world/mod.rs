//! A world of small pictures with questions whose answers are known: shapes, words, handwritten digits and bar
//! charts, drawn from a seed.
//!
//! ```
//! use examples::world::{Split, World};
//!
//! let world = World::new(Split::Train, 7);
//! let example = world.example(0);
//! assert_eq!(example.turns, world.example(0).turns); // the same for ever
//! assert_eq!(example.image.width(), example.image.height());
//! ```
//!
//! The held-out split differs in more than its seeds: some pairs of colour and shape, some words and some
//! handwritten digits are in it that the training split never shows or names ([`Split`]).
//!
//! | file | what it holds |
//! |---|---|
//! | `canvas`, `colour`, `shape`, `texture`, `letters` | how things are drawn |
//! | `figures`, `word`, `digit`, `chart` | the four kinds of scenes, each with its questions |
//! | `sheet`, `pairs`, `finding` | many small things at once: the first lesson, how they are told in pairs, and questions about one of them |
//! | `question` | a question, its answer, its kind |
//! | `split` | what only the held-out split has |
//! | `example` | a picture with its conversation; records for `train` |
//! | `model`, `fresh` | a fresh model of the size that this world needs, and how its weights begin |
//! | `score` | how many questions a model answers |

mod background;
mod canvas;
mod chart;
mod colour;
mod digit;
mod example;
mod figures;
mod finding;
mod fresh;
mod letters;
mod location;
pub mod model;
mod pairs;
mod place;
mod question;
pub mod score;
mod shape;
mod sheet;
mod split;
mod texture;
mod word;

pub use example::{Example, Lesson, World};
pub use question::{Kind, Question};
pub use split::Split;
