//! Single rows of nested columns.
//!
//! A column is stored as its leaves, each a list of values with two levels: how deep the value is defined, and how
//! deep the list is that it goes on with (Dremel, <https://research.google/pubs/pub36632/>). The crate's own reader of
//! rows makes every row in front of the one that is wanted; here they are skipped.
//!
//! ```text
//! content: list<struct<type: string, text: string>>
//!
//! leaf type   defined 4 4   repeated 0 1   values "image" "text"
//! leaf text   defined 3 4   repeated 0 1   values "What?"
//! ->
//! [{type: "image", text: null}, {type: "text", text: "What?"}]
//! ```

use parquet::{
    basic::{ConvertedType, Repetition},
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, DataType},
    errors::ParquetError,
    file::reader::RowGroupReader,
    schema::types::{Type, TypePtr},
};
use serde_json::Value;

/// A value of a nested column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Nested {
    /// Nothing.
    Null,
    /// Text, a number or a truth value.
    Plain(Value),
    /// Bytes that are no text.
    Bytes(ByteArray),
    /// A list.
    List(Vec<Nested>),
    /// Fields in order.
    Struct(Vec<(String, Nested)>),
}

/// Some columns of a row group, row by row.
pub(super) struct Rows(Vec<Column>);

struct Column {
    schema: TypePtr,
    leaves: Vec<Leaf>,
}

struct Leaf {
    reader: ColumnReader,
    // The level of a value that is there.
    defined: i16,
    text: bool,
}

/// What a leaf has at a place.
struct Entry {
    defined: i16,
    repeated: i16,
    value: Option<Nested>,
}

impl Rows {
    /// The columns that are called so, in this order; those that are not there are left out.
    pub(super) fn of(group: &dyn RowGroupReader, names: &[&str]) -> Result<Self, ParquetError> {
        let schema = group.metadata().schema_descr();
        let mut columns = Vec::new();
        for name in names {
            let fields = schema.root_schema().get_fields();
            let Some(field) = fields.iter().find(|field| field.name() == *name) else {
                continue;
            };
            let mut leaves = Vec::new();
            for (index, leaf) in schema.columns().iter().enumerate() {
                if leaf.path().parts()[0] == *name {
                    leaves.push(Leaf {
                        reader: group.get_column_reader(index)?,
                        defined: leaf.max_def_level(),
                        text: matches!(
                            leaf.converted_type(),
                            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
                        ),
                    });
                }
            }
            columns.push(Column {
                schema: field.clone(),
                leaves,
            });
        }
        Ok(Self(columns))
    }

    /// Passes rows over.
    pub(super) fn skip(&mut self, rows: usize) -> Result<(), ParquetError> {
        let leaves = self.0.iter_mut().flat_map(|column| &mut column.leaves);
        for leaf in leaves {
            skip(&mut leaf.reader, rows)?;
        }
        Ok(())
    }

    /// The next row: the columns' names and values.
    pub(super) fn next(&mut self) -> Result<Vec<(String, Nested)>, ParquetError> {
        let column = |column: &mut Column| {
            let entries = column.leaves.iter_mut().map(Leaf::next);
            let mut entries: Vec<Vec<Entry>> = entries.collect::<Result<_, _>>()?;
            let leaves = entries.iter_mut().map(|entries| &mut entries[..]);
            let value = assemble(&column.schema, leaves.collect(), 0, 0);
            Ok((column.schema.name().to_owned(), value))
        };
        self.0.iter_mut().map(column).collect()
    }
}

impl Leaf {
    /// The entries of the next row, one or more.
    fn next(&mut self) -> Result<Vec<Entry>, ParquetError> {
        let (defined, text) = (self.defined, self.text);
        match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => read(reader, defined, plain),
            ColumnReader::Int32ColumnReader(reader) => read(reader, defined, plain),
            ColumnReader::Int64ColumnReader(reader) => read(reader, defined, plain),
            ColumnReader::FloatColumnReader(reader) => read(reader, defined, plain),
            ColumnReader::DoubleColumnReader(reader) => read(reader, defined, plain),
            ColumnReader::ByteArrayColumnReader(reader) => {
                read(reader, defined, |bytes| match text {
                    true => plain(String::from_utf8_lossy(bytes.data()).into_owned()),
                    false => Nested::Bytes(bytes),
                })
            }
            // Times and decimals, of which no record has any.
            ColumnReader::Int96ColumnReader(reader) => read(reader, defined, |_| Nested::Null),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                read(reader, defined, |_| Nested::Null)
            }
        }
    }
}

fn plain(value: impl Into<Value>) -> Nested {
    Nested::Plain(value.into())
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    max_defined: i16,
    nested: impl Fn(T::T) -> Nested,
) -> Result<Vec<Entry>, ParquetError> {
    let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (rows, _, _) =
        reader.read_records(1, Some(&mut defined), Some(&mut repeated), &mut values)?;
    if rows == 0 {
        return Err(ParquetError::EOF("a column ends before the row".to_owned()));
    }
    // Levels that can but be 0 are not written.
    if max_defined == 0 {
        defined.resize(values.len(), 0);
    }
    repeated.resize(defined.len(), 0);
    let mut values = values.into_iter();
    let entry = |(defined, repeated)| Entry {
        defined,
        repeated,
        value: (defined == max_defined)
            .then(|| values.next())
            .flatten()
            .map(&nested),
    };
    Ok(defined.into_iter().zip(repeated).map(entry).collect())
}

fn skip(reader: &mut ColumnReader, rows: usize) -> Result<usize, ParquetError> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int32ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int64ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int96ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FloatColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::DoubleColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::ByteArrayColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => reader.skip_records(rows),
    }
}

/// A value of `schema` from the entries of its leaves, below `defined` and `repeated` levels.
fn assemble(schema: &Type, leaves: Vec<&mut [Entry]>, defined: i16, repeated: i16) -> Nested {
    // All leaves of a value agree on how far it is defined itself.
    let is_there = leaves
        .first()
        .and_then(|leaf| leaf.first())
        .is_some_and(|entry| entry.defined > defined);
    match schema.get_basic_info().repetition() {
        Repetition::REQUIRED => content(schema, leaves, defined, repeated),
        Repetition::OPTIONAL if !is_there => Nested::Null,
        Repetition::OPTIONAL => content(schema, leaves, defined + 1, repeated),
        Repetition::REPEATED if !is_there => Nested::List(Vec::new()),
        Repetition::REPEATED => {
            let elements = leaves.into_iter().map(|leaf| split(leaf, repeated + 1));
            let mut elements: Vec<std::vec::IntoIter<&mut [Entry]>> =
                elements.map(Vec::into_iter).collect();
            let mut list = Vec::new();
            loop {
                let element: Vec<_> = elements.iter_mut().filter_map(Iterator::next).collect();
                if element.is_empty() {
                    return Nested::List(list);
                }
                list.push(content(schema, element, defined + 1, repeated + 1));
            }
        }
    }
}

/// A value that is there.
fn content(schema: &Type, mut leaves: Vec<&mut [Entry]>, defined: i16, repeated: i16) -> Nested {
    if schema.is_primitive() {
        let entry = leaves.first_mut().and_then(|leaf| leaf.first_mut());
        return entry
            .and_then(|entry| entry.value.take())
            .unwrap_or(Nested::Null);
    }
    let fields = schema.get_fields();
    let mut leaves = leaves.into_iter();
    let mut fields: Vec<(String, Nested)> = fields
        .iter()
        .map(|field| {
            let leaves = leaves.by_ref().take(count(field)).collect();
            let value = assemble(field, leaves, defined, repeated);
            (field.name().to_owned(), value)
        })
        .collect();
    if schema.get_basic_info().converted_type() != ConvertedType::LIST || fields.len() != 1 {
        return Nested::Struct(fields);
    }
    // list.element.…: the one field is the repeated group, whose one field is the element.
    match fields.remove(0).1 {
        Nested::List(elements) => Nested::List(elements.into_iter().map(element).collect()),
        other => other,
    }
}

fn element(wrapped: Nested) -> Nested {
    match wrapped {
        Nested::Struct(mut fields) if fields.len() == 1 => fields.remove(0).1,
        other => other,
    }
}

/// Number of leaves.
fn count(schema: &Type) -> usize {
    match schema.is_primitive() {
        true => 1,
        false => schema.get_fields().iter().map(|field| count(field)).sum(),
    }
}

/// Cuts entries before each that begins an element of a list at level `repeated`.
fn split(mut entries: &mut [Entry], repeated: i16) -> Vec<&mut [Entry]> {
    let mut elements = Vec::new();
    while !entries.is_empty() {
        let rest = entries.iter().skip(1);
        let length = 1 + rest.take_while(|entry| entry.repeated > repeated).count();
        let (element, rest) = entries.split_at_mut(length);
        elements.push(element);
        entries = rest;
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;

    /// Leaves as pairs of levels, with the text of those that are there.
    fn leaf(entries: &[(i16, i16, Option<&str>)]) -> Vec<Entry> {
        let entry = |(defined, repeated, text): &(i16, i16, Option<&str>)| Entry {
            defined: *defined,
            repeated: *repeated,
            value: text.map(plain),
        };
        entries.iter().map(entry).collect()
    }

    fn debug(nested: Nested) -> Value {
        match nested {
            Nested::Null => Value::Null,
            Nested::Plain(value) => value,
            Nested::Bytes(bytes) => json!(bytes.data()),
            Nested::List(values) => values.into_iter().map(debug).collect(),
            Nested::Struct(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, debug(value)));
                Value::Object(fields.collect())
            }
        }
    }

    #[test]
    fn lists_in_lists_and_what_is_null_in_them() {
        let schema = parse_message_type(
            "message rows {
                optional group turns (LIST) { repeated group list { optional group element {
                    optional binary role (UTF8);
                    optional group parts (LIST) { repeated group list {
                        optional binary element (UTF8);
                    } }
                } } }
            }",
        )
        .unwrap();
        let turns = &schema.get_fields()[0];
        let read = |role: &[_], parts: &[_]| {
            let (mut role, mut parts) = (leaf(role), leaf(parts));
            debug(assemble(turns, vec![&mut role, &mut parts], 0, 0))
        };
        assert_eq!(read(&[(0, 0, None)], &[(0, 0, None)]), json!(null));
        assert_eq!(read(&[(1, 0, None)], &[(1, 0, None)]), json!([]));
        assert_eq!(read(&[(2, 0, None)], &[(2, 0, None)]), json!([null]));
        assert_eq!(
            read(&[(3, 0, None)], &[(3, 0, None)]),
            json!([{"role": null, "parts": null}])
        );
        assert_eq!(
            read(
                &[
                    (4, 0, Some("a")),
                    (2, 1, None),
                    (4, 1, Some("b")),
                    (4, 1, Some("c"))
                ],
                &[
                    (6, 0, Some("1")),
                    (5, 2, None),
                    (6, 2, Some("2")),
                    (2, 1, None),
                    (4, 1, None),
                    (6, 1, Some("3")),
                ],
            ),
            json!([
                {"role": "a", "parts": ["1", null, "2"]},
                null,
                {"role": "b", "parts": []},
                {"role": "c", "parts": ["3"]},
            ])
        );
    }

    #[test]
    fn columns_that_are_no_lists_and_old_lists() {
        let schema = parse_message_type(
            "message rows {
                required binary text (UTF8);
                optional group image { optional binary bytes; optional binary path (UTF8); }
                repeated binary tags (UTF8);
            }",
        )
        .unwrap();
        let [text, image, tags] = schema.get_fields() else {
            panic!("three columns")
        };
        let mut leaves = leaf(&[(0, 0, Some("a"))]);
        assert_eq!(debug(assemble(text, vec![&mut leaves], 0, 0)), "a");
        let (mut bytes, mut path) = (leaf(&[(1, 0, None)]), leaf(&[(2, 0, Some("b"))]));
        let image = debug(assemble(image, vec![&mut bytes, &mut path], 0, 0));
        assert_eq!(image, json!({"bytes": null, "path": "b"}));
        let mut leaves = leaf(&[(1, 0, Some("c")), (1, 1, Some("d"))]);
        assert_eq!(
            debug(assemble(tags, vec![&mut leaves], 0, 0)),
            json!(["c", "d"])
        );
    }
}
