use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use vlm_core::Error;

use super::{RecordSource, array, jsonl};

/// Opens a file of records: Parquet (`.parquet`), one JSON list, or a JSON object a line.
///
/// The file is read through once for the places of its records; they are read again when they are asked for.
///
/// # Errors
///
/// When the file cannot be read, has no record, or is Parquet and the feature `parquet` was not compiled in.
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn RecordSource>, Error> {
    let path = path.as_ref();
    if path
        .extension()
        .is_some_and(|extension| extension == "parquet")
    {
        return open_parquet(path);
    }
    let content = || File::open(path).map_err(Error::io(path));
    let first = first_character(&mut BufReader::new(content()?)).map_err(Error::io(path))?;
    Ok(match first {
        Some(b'[') => Box::new(array::open(path, content()?)?),
        _ => Box::new(jsonl::open(path, content()?)?),
    })
}

#[cfg(feature = "parquet")]
fn open_parquet(path: &Path) -> Result<Box<dyn RecordSource>, Error> {
    Ok(Box::new(super::parquet::ParquetFile::open(path)?))
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(path: &Path) -> Result<Box<dyn RecordSource>, Error> {
    let message = "Parquet is read where the feature `parquet` is compiled in";
    Err(Error::file(path, message))
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
