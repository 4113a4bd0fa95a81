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
//! whole pages at once where the file has a page index.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use parquet::{
    basic::ConvertedType,
    column::reader::ColumnReader,
    data_type::ByteArray,
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

use super::{Picture, Place, Record, RecordSource, form};

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
    // Rows of each row group.
    groups: Vec<usize>,
    // The schema with the columns of texts alone.
    texts: Type,
}

impl ParquetFile {
    /// Reads the footer.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let reader = reader(path)?;
        let metadata = reader.metadata();
        let rows = |group: &parquet::file::metadata::RowGroupMetaData| group.num_rows() as usize;
        let groups: Vec<usize> = metadata.row_groups().iter().map(rows).collect();
        if groups.iter().sum::<usize>() == 0 {
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

    fn free_readers(&self) -> std::sync::MutexGuard<'_, Vec<SerializedFileReader<File>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(
        &self,
        reader: &SerializedFileReader<File>,
        group: usize,
        row: usize,
    ) -> Result<(Option<Row>, Vec<Found>), ParquetError> {
        let group = reader.get_row_group(group)?;
        let texts = match self.texts.get_fields().is_empty() {
            true => None,
            false => RowIter::from_row_group(Some(self.texts.clone()), &*group)?
                .nth(row)
                .transpose()?,
        };
        Ok((texts, pictures(&*group, row)?))
    }
}

impl RecordSource for ParquetFile {
    fn len(&self) -> usize {
        self.groups.iter().sum()
    }

    fn record(&self, index: usize) -> Result<Record, Error> {
        let (mut group, mut row) = (0, index);
        while row >= self.groups[group] {
            row -= self.groups[group];
            group += 1;
        }
        let place = Place {
            path: self.path.clone(),
            unit: "row",
            number: index + 1,
        };
        let free = self.free_readers().pop();
        let reader = match free {
            Some(reader) => reader,
            None => reader(&self.path)?,
        };
        let read = self.read(&reader, group, row);
        self.free_readers().push(reader);
        let (texts, found) = read.map_err(|error| place.error(error))?;
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

/// The pictures of a row of a row group.
fn pictures(group: &dyn RowGroupReader, row: usize) -> Result<Vec<Found>, ParquetError> {
    let mut all = Vec::new();
    for column in PICTURES {
        let mut found: Vec<Found> = Vec::new();
        let schema = group.metadata().schema_descr();
        for (index, leaf) in schema.columns().iter().enumerate() {
            if leaf.path().parts()[0] != column {
                continue;
            }
            let ColumnReader::ByteArrayColumnReader(mut reader) = group.get_column_reader(index)?
            else {
                continue;
            };
            reader.skip_records(row)?;
            let (mut definitions, mut repetitions, mut values) =
                (Vec::new(), Vec::new(), Vec::new());
            // Levels are not written where a column has but one.
            reader.read_records(
                1,
                Some(&mut definitions),
                Some(&mut repetitions),
                &mut values,
            )?;
            let (defined, mut values) = (leaf.max_def_level(), values.into_iter());
            let levels = match defined {
                0 => vec![0; values.len()],
                _ => definitions,
            };
            let is_text = leaf.converted_type() == ConvertedType::UTF8;
            // A level below the element's says that the list is empty or missing.
            let element = defined - i16::from(leaf.self_type().is_optional());
            for (place, _) in levels
                .iter()
                .enumerate()
                .filter(|(_, level)| **level >= element)
            {
                found.resize(found.len().max(place + 1), Found::default());
                let value = (levels[place] == defined).then(|| values.next()).flatten();
                match is_text {
                    true => found[place].path = value,
                    false => found[place].bytes = value,
                }
            }
        }
        // An image that is null is none.
        all.extend(
            found
                .into_iter()
                .filter(|found| found.bytes.is_some() || found.path.is_some()),
        );
    }
    Ok(all)
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
