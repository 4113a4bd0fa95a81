use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use vlm_core::Error;

use super::{RecordSource, array, jsonl};

/// Opens a file of records: Parquet (`.parquet`), one JSON list, or a JSON object a line; or a folder with the Parquet
/// files of one set, `train-00000-of-00002.parquet` and so on, which are read in the order of their names.
///
/// A JSON file is read through once for the places of its records; they are read again when they are asked for.
///
/// # Errors
///
/// When a file cannot be read, has no record, or is Parquet and the feature `parquet` was not compiled in; when a
/// folder has no Parquet file or those of several sets.
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn RecordSource>, Error> {
    let path = path.as_ref();
    let home = match path.is_dir() {
        true => Some(path),
        false => path.parent(),
    };
    open_with_images(path, home.unwrap_or(Path::new("")))
}

/// As [`open`], with pictures whose paths are relative to another folder than the file's (LLaVA's `--image_folder`).
///
/// # Errors
///
/// As [`open`].
pub fn open_with_images(
    path: impl AsRef<Path>,
    images: impl AsRef<Path>,
) -> Result<Box<dyn RecordSource>, Error> {
    let (path, home) = (path.as_ref(), images.as_ref());
    if path.is_dir() {
        let shards = shards(path)?;
        let shards = shards.iter().map(|shard| open_parquet(shard, home));
        return Ok(Box::new(shards.collect::<Result<Vec<_>, _>>()?));
    }
    if path
        .extension()
        .is_some_and(|extension| extension == "parquet")
    {
        return open_parquet(path, home);
    }
    let content = || File::open(path).map_err(Error::io(path));
    let first = first_character(&mut BufReader::new(content()?)).map_err(Error::io(path))?;
    Ok(match first {
        Some(b'[') => Box::new(array::open(path, home, content()?)?),
        _ => Box::new(jsonl::open(path, home, content()?)?),
    })
}

#[cfg(feature = "parquet")]
fn open_parquet(path: &Path, home: &Path) -> Result<Box<dyn RecordSource>, Error> {
    Ok(Box::new(super::parquet::ParquetFile::open(path, home)?))
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(path: &Path, _home: &Path) -> Result<Box<dyn RecordSource>, Error> {
    let message = "Parquet is read where the feature `parquet` is compiled in";
    Err(Error::file(path, message))
}

/// The Parquet files of a folder, which belong to one set.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            shards.push(path);
        }
    }
    shards.sort();
    let sets: BTreeSet<String> = shards.iter().map(|shard| set_of(shard)).collect();
    match sets.len() {
        0 => Err(Error::file(
            folder,
            "expected Parquet files in the folder, found none",
        )),
        1 => Ok(shards),
        _ => {
            let sets: Vec<String> = sets.into_iter().collect();
            let message = format!(
                "expected the Parquet files of one set, found those of {}: give a file",
                sets.join(", ")
            );
            Err(Error::file(folder, message))
        }
    }
}

/// `train` of `train-00001-of-00003.parquet`; the whole name where it has no number.
fn set_of(shard: &Path) -> String {
    let name = shard.file_stem().unwrap_or_default().to_string_lossy();
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let set = name.rsplit_once("-of-").and_then(|(first, count)| {
        let (set, index) = first.rsplit_once('-')?;
        (number(index) && number(count)).then(|| set.to_owned())
    });
    set.unwrap_or_else(|| name.into_owned())
}

fn first_character(content: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let buffer = content.fill_buf()?;
        let read = buffer.len();
        if read == 0 {
            return Ok(None);
        }
        if let Some(first) = buffer.iter().find(|byte| !byte.is_ascii_whitespace()) {
            return Ok(Some(*first));
        }
        content.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_of_one_set_are_told_from_those_of_several() {
        let folder = tempfile::tempdir().unwrap();
        let refused = || open(folder.path()).unwrap_err().to_string();
        let touch = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        assert!(refused().ends_with("expected Parquet files in the folder, found none"));
        for name in [
            "train-00001-of-00002.parquet",
            "train-00000-of-00002.parquet",
            "README.md",
        ] {
            touch(name);
        }
        let names = shards(folder.path()).unwrap();
        let names = names
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap());
        let expected = [
            "train-00000-of-00002.parquet",
            "train-00001-of-00002.parquet",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        touch("test.parquet");
        assert!(refused().ends_with(
            "expected the Parquet files of one set, found those of test, train: give a file"
        ));
    }
}
