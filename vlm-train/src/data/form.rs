//! What a record's keys say it is.

use std::path::Path;

use serde_json::{Map, Value};
use vlm_core::Error;

use super::{Body, Picture, Place, Record, conversations, trl};

/// A record as the JSON object that a file has for it.
pub(super) type Object = Map<String, Value>;

/// What comes of a part of a record, or what is wrong with it, in words that lack the place.
pub(super) type Found<T> = Result<T, String>;

/// Makes a record of an object, whose pictures lie in `home`.
pub(super) fn record(mut object: Object, home: &Path, place: Place) -> Result<Record, Error> {
    let found = listed(&mut object, home).and_then(|pictures| body(object, pictures, home));
    at(place, found)
}

/// Ties what was found to its place.
pub(super) fn at(place: Place, found: Found<(Body, Vec<Picture>)>) -> Result<Record, Error> {
    match found {
        Ok((body, pictures)) => Ok(Record {
            place,
            body,
            pictures,
        }),
        Err(message) => Err(place.error(message)),
    }
}

/// What an object says, with pictures that were listed elsewhere.
pub(super) fn body(
    object: Object,
    listed: Vec<Picture>,
    home: &Path,
) -> Found<(Body, Vec<Picture>)> {
    for key in ["tools", "chat_template_kwargs"] {
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(values) => values.is_empty(),
            Value::Object(values) => values.is_empty(),
            _ => false,
        };
        if object.get(key).is_some_and(|value| !empty(value)) {
            return Err(format!(
                "key `{key}`: the chat template is given messages alone"
            ));
        }
    }
    match conversations::is_one(&object) {
        true => conversations::body(object, listed),
        false => trl::body(object, listed, home),
    }
}

/// Takes `images` and `image` out: paths relative to `home`, one or a list of them.
fn listed(object: &mut Object, home: &Path) -> Found<Vec<Picture>> {
    let mut pictures = Vec::new();
    for key in ["images", "image"] {
        let values = match object.shift_remove(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        for value in values {
            let number = pictures.len() + 1;
            let path = match &value {
                Value::String(path) => Some(path.as_str()),
                Value::Object(file) => file.get("path").and_then(Value::as_str),
                _ => None,
            };
            let path = path.ok_or_else(|| {
                format!("key `{key}`: image {number}: expected a path, found {value}")
            })?;
            pictures.push(file(path, home)?);
        }
    }
    Ok(pictures)
}

/// A picture's file.
pub(super) fn file(path: &str, home: &Path) -> Found<Picture> {
    match path.contains("://") || path.starts_with("data:") {
        true => Err(format!(
            "image {path}: expected the path of a file, found an address"
        )),
        false => Ok(Picture::File(home.join(path))),
    }
}

/// Says that listed pictures and places for them do not match.
pub(super) fn count_mismatch(listed: usize, places: usize, what: &str) -> String {
    format!("{listed} image(s) are listed, and {places} {what} stand in the text")
}
