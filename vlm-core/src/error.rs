use std::path::{Path, PathBuf};

use crate::checkpoint::Report;

/// What can go wrong between a file, a flag or a picture and a model.
///
/// Every message names what is wrong and what was expected, in one line; underlying causes are kept
/// as [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file is not the JSON that it should be.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the text stops making sense.
        source: serde_json::Error,
    },
    /// A file was read but its content is not usable.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A configuration key has a value that cannot be honoured.
    #[error("key `{key}`: {message}")]
    Key {
        /// The key, with dots between levels.
        key: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A checkpoint does not fit the model that its configuration describes.
    #[error("{0}")]
    Checkpoint(Box<Report>),
    /// A picture could not be used.
    #[error("image {name}: {message}")]
    Image {
        /// The picture's file, or its number in the prompt.
        name: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A sequence is longer than the memory that was set aside or the model allows.
    #[error("{needed} positions are needed, {allowed} are allowed: {hint}")]
    TooLong {
        /// Positions that the request needs.
        needed: usize,
        /// Positions that are allowed.
        allowed: usize,
        /// What the caller can change.
        hint: &'static str,
    },
    /// A request that the model cannot serve.
    #[error("{0}")]
    Request(String),
}

impl Error {
    /// Ties an I/O error to its file.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// Ties a JSON error to its file.
    pub fn json(path: impl AsRef<Path>) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Json { path, source }
    }

    /// A file whose content is not usable.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.as_ref().to_path_buf(),
            message: message.into(),
        }
    }

    /// A configuration key whose value cannot be honoured.
    pub fn key(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Key {
            key: key.into(),
            message: message.into(),
        }
    }

    /// Names the file in which a configuration key stands; other errors pass through.
    #[must_use]
    pub fn in_file(self, path: impl AsRef<Path>) -> Self {
        match self {
            Self::Key { .. } => Self::file(path, self.to_string()),
            other => other,
        }
    }

    /// Puts `prefix.` before the key of a configuration error; other errors pass through.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        match self {
            Self::Key { key, message } => Self::Key {
                key: format!("{prefix}.{key}"),
                message,
            },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_levels_and_its_file() {
        let error = Error::key("hidden_act", "expected gelu, found gilu").under("vision_config");
        assert_eq!(
            error.in_file("config.json").to_string(),
            "config.json: key `vision_config.hidden_act`: expected gelu, found gilu"
        );
    }
}
