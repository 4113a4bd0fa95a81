//! Parquet as the Hugging Face hub stores sets with pictures.
//!
//! ```text
//! images    list<struct<bytes: binary, path: string>>
//! messages  list<struct<role: string, content: list<struct<type: string, text: string, index: int64>>>>
//! ->
//! the record that a JSONL line with the same keys gives, its pictures in memory
//! ```
//!
//! Rows in front of the one that is wanted are passed over, whole pages at once where the file has a page index. A row
//! costs the reading of the page that it is in, unless the row that was read before stands in front of it there. Hints
//! are made for a whole row group at once.

mod rows;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use parquet::{
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        reader::FileReader,
        serialized_reader::{ReadOptionsBuilder, SerializedFileReader},
    },
};
use serde_json::Value;
use vlm_core::Error;

use super::{
    Hints, Picture, Place, Record, RecordSource,
    form::{self, Object},
};
use rows::{Nested, Rows};

/// Columns of pictures.
const IMAGES: [&str; 2] = ["images", "image"];

/// The other columns that are read.
const TEXTS: [&str; 7] = [
    "messages",
    "conversations",
    "prompt",
    "completion",
    "text",
    "tools",
    "chat_template_kwargs",
];

/// A Parquet file of which only the footer is held in memory.
pub(super) struct ParquetFile {
    path: Arc<Path>,
    // Where pictures without bytes are.
    home: PathBuf,
    // Those that nobody uses now.
    cursors: Mutex<Vec<Cursor>>,
    groups: Vec<Group>,
}

struct Group {
    rows: usize,
    hints: OnceLock<Vec<Hints>>,
}

impl ParquetFile {
    /// Reads the footer.
    pub(super) fn open(path: &Path, home: &Path) -> Result<Self, Error> {
        let reader = reader(path)?;
        let metadata = reader.metadata();
        let groups = metadata.row_groups().iter().map(|group| Group {
            rows: group.num_rows() as usize,
            hints: OnceLock::new(),
        });
        let groups: Vec<Group> = groups.collect();
        if groups.iter().all(|group| group.rows == 0) {
            return Err(Error::file(path, "expected a record a row, found none"));
        }
        Ok(Self {
            path: path.into(),
            home: home.into(),
            cursors: Mutex::new(vec![Cursor { reader, at: None }]),
            groups,
        })
    }

    fn free_cursors(&self) -> MutexGuard<'_, Vec<Cursor>> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cursor that has the shortest way to a row, or a new one where all are used.
    fn cursor(&self, group: usize, row: usize) -> Result<Cursor, Error> {
        let mut cursors = self.free_cursors();
        let nearest = (0..cursors.len()).max_by_key(|index| cursors[*index].nearness(group, row));
        if let Some(nearest) = nearest {
            return Ok(cursors.swap_remove(nearest));
        }
        drop(cursors);
        let reader = reader(&self.path)?;
        Ok(Cursor { reader, at: None })
    }

    /// The row group of a row, and the row's place in it.
    fn group_of(&self, index: usize) -> (usize, usize) {
        let (mut group, mut row) = (0, index);
        while row >= self.groups[group].rows {
            row -= self.groups[group].rows;
            group += 1;
        }
        (group, row)
    }

    fn group_hints(&self, group: usize) -> Result<Vec<Hints>, Error> {
        let mut cursor = self.cursor(group, 0)?;
        let hints = (0..self.groups[group].rows).map(|row| {
            let (texts, images) = cursor.read(group, row)?;
            let images = pictures(images).into_iter();
            let images = images.map(|_| Picture::File(PathBuf::new())).collect();
            let body = form::body(object(texts), images, &self.home);
            Ok(body.map_or_else(
                |_| Hints::default(),
                |(body, pictures)| body.hints(pictures.len()),
            ))
        });
        let hints: Result<Vec<_>, ParquetError> = hints.collect();
        self.free_cursors().push(cursor);
        hints.map_err(broken(&self.path))
    }
}

/// A row's columns.
type Columns = Vec<(String, Nested)>;

/// A reader that remembers where it is. One may not be used by two threads, because what is made of a file shares its
/// position.
struct Cursor {
    reader: SerializedFileReader<File>,
    at: Option<At>,
}

struct At {
    group: usize,
    // The next row of the group.
    row: usize,
    texts: Rows,
    images: Rows,
}

impl Cursor {
    /// Higher where there is less to pass over.
    fn nearness(&self, group: usize, row: usize) -> Option<usize> {
        let at = self.at.as_ref().filter(|at| at.is_before(group, row))?;
        Some(at.row)
    }

    /// The texts and the pictures of a row.
    fn read(&mut self, group: usize, row: usize) -> Result<(Columns, Columns), ParquetError> {
        let mut at = match self.at.take().filter(|at| at.is_before(group, row)) {
            Some(at) => at,
            None => {
                let columns = self.reader.get_row_group(group)?;
                At {
                    group,
                    row: 0,
                    texts: Rows::of(&*columns, &TEXTS)?,
                    images: Rows::of(&*columns, &IMAGES)?,
                }
            }
        };
        at.texts.skip(row - at.row)?;
        at.images.skip(row - at.row)?;
        let found = (at.texts.next()?, at.images.next()?);
        at.row = row + 1;
        self.at = Some(at);
        Ok(found)
    }
}

impl At {
    fn is_before(&self, group: usize, row: usize) -> bool {
        self.group == group && self.row <= row
    }
}

impl RecordSource for ParquetFile {
    fn len(&self) -> usize {
        self.groups.iter().map(|group| group.rows).sum()
    }

    fn record(&self, index: usize) -> Result<Record, Error> {
        let (group, row) = self.group_of(index);
        let place = Place {
            path: self.path.clone(),
            unit: "row",
            number: index + 1,
        };
        let mut cursor = self.cursor(group, row)?;
        let read = cursor.read(group, row);
        self.free_cursors().push(cursor);
        let (texts, images) = read.map_err(|error| place.error(error))?;
        let images = pictures(images).into_iter().enumerate();
        let found = images
            .map(|(index, image)| image.picture(index + 1, &self.home))
            .collect::<Result<Vec<_>, String>>()
            .and_then(|pictures| form::body(object(texts), pictures, &self.home));
        form::at(place, found)
    }

    fn hints(&self, index: usize) -> Hints {
        let (group, row) = self.group_of(index);
        let all = self.groups[group]
            .hints
            .get_or_init(|| self.group_hints(group).unwrap_or_default());
        all.get(row).copied().unwrap_or_default()
    }
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, rows) = (self.path.display(), self.len());
        write!(f, "ParquetFile({path}, {rows} rows)")
    }
}

fn reader(path: &Path) -> Result<SerializedFileReader<File>, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(broken(path))?;
    let mut columns = reader
        .metadata()
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    if !columns.all(|column| column.offset_index_offset().is_some()) {
        return Ok(reader);
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let options = ReadOptionsBuilder::new().with_page_index().build();
    SerializedFileReader::new_with_options(file, options).map_err(broken(path))
}

fn broken(path: &Path) -> impl Fn(ParquetError) -> Error {
    move |error| {
        Error::file(
            path,
            format!("not a Parquet file that can be read: {error}"),
        )
    }
}

/// A picture as a column has it.
#[derive(Default)]
struct Image {
    bytes: Option<ByteArray>,
    path: Option<String>,
}

impl Image {
    fn picture(self, number: usize, home: &Path) -> Result<Picture, String> {
        match (self.bytes, self.path) {
            (Some(bytes), path) => Ok(Picture::Bytes {
                name: path.unwrap_or_else(|| number.to_string()),
                bytes: bytes.data().to_vec(),
            }),
            (None, Some(path)) => form::file(&path, home),
            (None, None) => Err(format!("image {number}: has neither bytes nor a path")),
        }
    }
}

/// The pictures of a row's columns; those that are null are none.
fn pictures(columns: Columns) -> Vec<Image> {
    let mut images = Vec::new();
    for (_, column) in columns {
        let values = match column {
            Nested::List(values) => values,
            value => vec![value],
        };
        for value in values {
            let mut image = Image::default();
            let parts = match value {
                Nested::Null => continue,
                Nested::Struct(fields) => fields.into_iter().map(|(_, value)| value).collect(),
                value => vec![value],
            };
            for part in parts {
                match part {
                    Nested::Bytes(bytes) => image.bytes = Some(bytes),
                    Nested::Plain(Value::String(path)) => image.path = Some(path),
                    _ => {}
                }
            }
            images.push(image);
        }
    }
    images
}

/// A row as a JSON object. Keys without a value are left out: Arrow gives every message the keys of all.
fn object(fields: Vec<(String, Nested)>) -> Object {
    let fields = fields.into_iter();
    fields
        .filter_map(|(name, value)| Some((name, json(value)?)))
        .collect()
}

fn json(value: Nested) -> Option<Value> {
    Some(match value {
        Nested::Null => return None,
        Nested::Plain(value) => value,
        Nested::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into(),
        Nested::List(values) => values.into_iter().filter_map(json).collect(),
        Nested::Struct(fields) => Value::Object(object(fields)),
    })
}
