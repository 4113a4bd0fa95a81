//! Reading a checkpoint's files, with errors that name file and key.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::Error;

/// A JSON file whose top level is an object.
#[derive(Debug)]
pub(crate) struct JsonFile {
    pub path: PathBuf,
    pub map: Map<String, Value>,
}

impl JsonFile {
    /// Reads a file; `None` when there is none.
    pub(crate) fn read(path: PathBuf) -> Result<Option<Self>, Error> {
        let Some(text) = read_text(&path)? else {
            return Ok(None);
        };
        match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(Some(JsonFile { path, map })),
            Ok(other) => Err(unexpected(path, "(top level)", "an object", &other)),
            Err(source) => Err(Error::Json { path, source }),
        }
    }

    /// The value of a key, unless it is missing or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The error that a key's value is not what it should be.
    pub(crate) fn unexpected(&self, key: &str, expected: &'static str, found: &Value) -> Error {
        unexpected(self.path.clone(), key, expected, found)
    }
}

/// Reads a text file; `None` when there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.into(),
            source,
        }),
    }
}

/// The `*.jinja` files of a folder by name, sorted; none when there is no such folder.
pub(crate) fn jinja_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: folder.into(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jinja")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unexpected(path: PathBuf, key: &str, expected: &'static str, found: &Value) -> Error {
    let mut found = found.to_string();
    if let Some((end, _)) = found.char_indices().nth(80) {
        found.truncate(end);
        found.push('…');
    }
    Error::Key {
        path,
        key: key.into(),
        expected,
        found,
    }
}
