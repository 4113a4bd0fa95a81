use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use vlm_chat_template::{Content, Message, PartKind};
use vlm_core::Error;

/// One example to learn from, as a file has it: nothing is tokenised, no picture is decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// What is said.
    pub body: Body,
    /// The pictures, in the order in which their placeholders stand in the body.
    pub pictures: Vec<Picture>,
}

/// What a [`Record`] says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A conversation; its image parts have lost their paths to [`Record::pictures`].
    Conversation(Vec<Message>),
    /// A conversation and how it goes on.
    Continued {
        /// What is given.
        prompt: Vec<Message>,
        /// What is to be learned.
        completion: Vec<Message>,
    },
    /// A text as it is, with the model's own placeholders for pictures.
    Text(String),
    /// A text as it is and how it goes on.
    Completed {
        /// What is given.
        prompt: String,
        /// What is to be learned.
        completion: String,
    },
}

/// A picture before it is decoded.
#[derive(Clone, PartialEq, Eq)]
pub enum Picture {
    /// A file.
    File(PathBuf),
    /// The bytes of a file that lies inside of another.
    Bytes {
        /// What errors call it.
        name: String,
        /// The file's content.
        bytes: Vec<u8>,
    },
}

/// Where a record stands, for whoever has to repair it: `train.jsonl: line 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// What the file consists of: lines, entries, rows.
    pub unit: &'static str,
    /// Number among these, from 1.
    pub number: usize,
}

/// What is known of a record without its pixels and ids, to group like with like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Number of pictures.
    pub pictures: usize,
    /// Words of all that is said.
    pub words: usize,
}

impl Place {
    /// An error that names the place.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        let Self { path, unit, number } = self;
        Error::file(path, format!("{unit} {number}: {message}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, unit, number } = self;
        write!(f, "{}: {unit} {number}", path.display())
    }
}

impl Picture {
    /// What errors call it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes { name, .. } => name.clone(),
        }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes { name, bytes } => write!(f, "Bytes({name}, {} bytes)", bytes.len()),
        }
    }
}

impl Hints {
    /// Words that a picture counts for, as in LLaVA's `group_by_modality_length`.
    const PICTURE: usize = 128;

    /// About how long the sample will be, in no unit but its own.
    pub fn length(self) -> usize {
        self.words + Self::PICTURE * self.pictures
    }
}

impl Record {
    /// Pictures and words.
    pub fn hints(&self) -> Hints {
        self.body.hints(self.pictures.len())
    }
}

impl Body {
    /// The words beside so many pictures.
    pub(super) fn hints(&self, pictures: usize) -> Hints {
        let words = match self {
            Self::Conversation(messages) => messages.iter().map(words_of_message).sum(),
            Self::Continued { prompt, completion } => {
                let messages = prompt.iter().chain(completion);
                messages.map(words_of_message).sum()
            }
            Self::Text(text) => words(text),
            Self::Completed { prompt, completion } => words(prompt) + words(completion),
        };
        Hints { pictures, words }
    }
}

fn words_of_message(message: &Message) -> usize {
    let of_part = |part: &vlm_chat_template::Part| match part.kind() {
        PartKind::Text(text) | PartKind::Phrase(text) => words(text),
        _ => 0,
    };
    match &message.content {
        Some(Content::Text(text)) => words(text),
        Some(Content::Parts(parts)) => parts.iter().map(of_part).sum(),
        _ => 0,
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}
