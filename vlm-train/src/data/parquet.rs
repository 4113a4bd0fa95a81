//! Parquet as the Hugging Face hub stores sets with pictures.
//!
//! ```text
//! images    list<struct<bytes: binary, path: string>>
//! messages  list<struct<role: string, content: list<struct<type: string, text: string, index: int64>>>>
//! ->
//! the record that a JSONL line with the same keys gives, its pictures in memory
//! ```
//!
//! Of a row group that a record is in, texts are read up to the record; pictures in front of it are passed over,
//! whole pages at once where the file has a page index. Hints are made for a whole row group at once.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use parquet::{
    basic::ConvertedType,
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, ByteArrayType},
    errors::ParquetError,
    file::{
        reader::{FileReader, RowGroupReader},
        serialized_reader::{ReadOptionsBuilder, SerializedFileReader},
    },
    record::{Field, Row, reader::RowIter},
    schema::types::Type,
};
use serde_json::{Map, Value};
use vlm_core::Error;

use super::{Hints, Picture, Place, Record, RecordSource, form};

/// Columns of pictures.
const PICTURES: [&str; 2] = ["images", "image"];

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
    // Readers that nobody uses now; one may not be used by two threads, because they share a file position.
    readers: Mutex<Vec<SerializedFileReader<File>>>,
    groups: Vec<Group>,
    // The schema with the columns of texts alone.
    texts: Type,
}

struct Group {
    rows: usize,
    hints: OnceLock<Vec<Hints>>,
}

impl ParquetFile {
    /// Reads the footer.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
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
        let schema = metadata.file_metadata().schema();
        let columns = schema.get_fields().iter();
        let columns = columns.filter(|column| TEXTS.contains(&column.name()));
        let texts = Type::group_type_builder(schema.name())
            .with_fields(columns.cloned().collect())
            .build()
            .map_err(broken(path))?;
        Ok(Self {
            path: path.into(),
            readers: Mutex::new(vec![reader]),
            groups,
            texts,
        })
    }

    fn free_readers(&self) -> MutexGuard<'_, Vec<SerializedFileReader<File>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a row group.
    fn with_group<T>(
        &self,
        group: usize,
        read: impl FnOnce(&dyn RowGroupReader) -> Result<T, ParquetError>,
        name: impl FnOnce(ParquetError) -> Error,
    ) -> Result<T, Error> {
        let free = self.free_readers().pop();
        let reader = match free {
            Some(reader) => reader,
            None => reader(&self.path)?,
        };
        let result = reader.get_row_group(group).and_then(|group| read(&*group));
        self.free_readers().push(reader);
        result.map_err(name)
    }

    fn texts<'a>(
        &self,
        group: &'a dyn RowGroupReader,
    ) -> Result<Option<RowIter<'a>>, ParquetError> {
        let some = !self.texts.get_fields().is_empty();
        some.then(|| RowIter::from_row_group(Some(self.texts.clone()), group))
            .transpose()
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

    fn group_hints(&self, group: &dyn RowGroupReader) -> Result<Vec<Hints>, ParquetError> {
        let mut texts = self.texts(group)?;
        let mut pictures = Pictures::of(group, 0)?;
        let rows = 0..group.metadata().num_rows();
        rows.map(|_| {
            let row = texts.as_mut().and_then(Iterator::next).transpose()?;
            let pictures = pictures
                .next()?
                .into_iter()
                .map(|_| Picture::File(PathBuf::new()));
            let body = form::body(
                row.map(object).unwrap_or_default(),
                pictures.collect(),
                Path::new(""),
            );
            Ok(body
                .map(|(body, pictures)| body.hints(pictures.len()))
                .unwrap_or_default())
        })
        .collect()
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
        let read = |group: &dyn RowGroupReader| {
            let row_of = |mut rows: RowIter<'_>| rows.nth(row).transpose();
            let texts = self.texts(group)?.map(row_of).transpose()?.flatten();
            Ok((texts, Pictures::of(group, row)?.next()?))
        };
        let (texts, found) = self.with_group(group, read, |error| place.error(error))?;
        let home = self.path.parent().unwrap_or(Path::new(""));
        let object = texts.map(object).unwrap_or_default();
        let pictures = found.into_iter().enumerate();
        let pictures = pictures.map(|(number, found)| found.picture(number + 1, home));
        let record = pictures
            .collect::<Result<Vec<_>, String>>()
            .and_then(|pictures| form::body(object, pictures, home));
        match record {
            Ok((body, pictures)) => Ok(Record {
                place,
                body,
                pictures,
            }),
            Err(message) => Err(place.error(message)),
        }
    }

    fn hints(&self, index: usize) -> Hints {
        let (group, row) = self.group_of(index);
        let all = self.groups[group].hints.get_or_init(|| {
            let read = |group: &dyn RowGroupReader| self.group_hints(group);
            let hints = self.with_group(group, read, broken(&self.path));
            hints.unwrap_or_default()
        });
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

/// What the leaves of a picture's column have.
#[derive(Clone, Default)]
struct Found {
    bytes: Option<ByteArray>,
    path: Option<ByteArray>,
}

impl Found {
    fn picture(self, number: usize, home: &Path) -> Result<Picture, String> {
        let path = self.path.map(|path| {
            let path = std::str::from_utf8(path.data()).map(str::to_owned);
            path.map_err(|_| format!("image {number}: its path is no text"))
        });
        match (self.bytes, path.transpose()?) {
            (Some(bytes), path) => Ok(Picture::Bytes {
                name: path.unwrap_or_else(|| format!("image {number}")),
                bytes: bytes.data().to_vec(),
            }),
            (None, Some(path)) => form::file(&path, home),
            (None, None) => Err(format!("image {number}: has neither bytes nor a path")),
        }
    }
}

/// The pictures of a row group, row by row.
struct Pictures(Vec<Leaf>);

/// A column of bytes or paths.
struct Leaf {
    reader: ColumnReaderImpl<ByteArrayType>,
    // The list that it is in: of several, the first comes first.
    list: usize,
    is_path: bool,
    // Levels from which on there is a value, and an element that may have one.
    value: i16,
    element: i16,
}

impl Pictures {
    /// Those from a row on.
    fn of(group: &dyn RowGroupReader, row: usize) -> Result<Self, ParquetError> {
        let mut leaves = Vec::new();
        let schema = group.metadata().schema_descr();
        for (index, leaf) in schema.columns().iter().enumerate() {
            let root = &leaf.path().parts()[0];
            let Some(list) = PICTURES.iter().position(|name| name == root) else {
                continue;
            };
            let ColumnReader::ByteArrayColumnReader(mut reader) = group.get_column_reader(index)?
            else {
                continue;
            };
            reader.skip_records(row)?;
            let value = leaf.max_def_level();
            leaves.push(Leaf {
                reader,
                list,
                is_path: leaf.converted_type() == ConvertedType::UTF8,
                value,
                element: value - i16::from(leaf.self_type().is_optional()),
            });
        }
        Ok(Self(leaves))
    }

    /// Those of the next row.
    fn next(&mut self) -> Result<Vec<Found>, ParquetError> {
        let mut lists: [Vec<Found>; PICTURES.len()] = Default::default();
        for leaf in &mut self.0 {
            let list = &mut lists[leaf.list];
            for (place, value) in leaf.next()?.into_iter().enumerate() {
                list.resize(list.len().max(place + 1), Found::default());
                match leaf.is_path {
                    true => list[place].path = value,
                    false => list[place].bytes = value,
                }
            }
        }
        // An image that is null is none.
        let there = |found: &Found| found.bytes.is_some() || found.path.is_some();
        Ok(lists.into_iter().flatten().filter(there).collect())
    }
}

impl Leaf {
    /// The elements of the next row.
    fn next(&mut self) -> Result<Vec<Option<ByteArray>>, ParquetError> {
        let (mut levels, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
        self.reader
            .read_records(1, Some(&mut levels), Some(&mut repeated), &mut values)?;
        if self.value == 0 {
            // A column that is never null and no list has no levels.
            levels.resize(values.len(), 0);
        }
        let mut values = values.into_iter();
        // A level below the element's says that its list is empty or missing.
        let elements = levels.into_iter().filter(|level| *level >= self.element);
        let value = self.value;
        Ok(elements
            .map(|level| (level == value).then(|| values.next()).flatten())
            .collect())
    }
}

/// A row as a JSON object. Keys without a value are left out: Arrow gives every message the keys of all.
fn object(row: Row) -> Map<String, Value> {
    let fields = row.into_columns().into_iter();
    fields
        .filter_map(|(name, field)| Some((name, json(&field)?)))
        .collect()
}

fn json(field: &Field) -> Option<Value> {
    Some(match field {
        Field::Null => return None,
        Field::Bool(value) => Value::from(*value),
        Field::Byte(value) => Value::from(*value),
        Field::Short(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::UByte(value) => Value::from(*value),
        Field::UShort(value) => Value::from(*value),
        Field::UInt(value) => Value::from(*value),
        Field::ULong(value) => Value::from(*value),
        Field::Float(value) => Value::from(*value),
        Field::Double(value) => Value::from(*value),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Group(row) => {
            let fields = row.get_column_iter();
            let fields = fields.filter_map(|(name, field)| Some((name.clone(), json(field)?)));
            Value::Object(fields.collect())
        }
        Field::ListInternal(list) => list.elements().iter().filter_map(json).collect(),
        other => Value::from(other.to_string()),
    })
}
