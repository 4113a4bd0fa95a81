//! Finding the image processor's keys among a checkpoint's files.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use vlm_core::Error;

use super::class::ProcessorClass;
use super::plain::PlainProcessor;

/// The image processor's keys and the file in which they stand.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessorFile {
    /// The file.
    pub path: PathBuf,
    /// The object's keys.
    pub keys: Map<String, Value>,
    /// The key under which the object stands in the file, if not at the top.
    pub under: Option<&'static str>,
}

impl ProcessorFile {
    /// Finds the keys in a checkpoint's folder, as transformers does: `image_processor` in
    /// `processor_config.json` wins over `preprocessor_config.json`.
    ///
    /// # Errors
    ///
    /// When neither is there, or a file is not a JSON object.
    pub fn find(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("processor_config.json");
        if path.exists() {
            let mut keys = read_object(&path)?;
            match keys.remove("image_processor") {
                Some(Value::Object(keys)) => {
                    return Ok(Self {
                        path,
                        keys,
                        under: Some("image_processor"),
                    });
                }
                None | Some(Value::Null) => {}
                Some(other) => {
                    let message = format!("expected an object, found {other}");
                    return Err(Error::key("image_processor", message).in_file(path));
                }
            }
        }
        let path = folder.join("preprocessor_config.json");
        if !path.exists() {
            let message =
                "expected image_processor in processor_config.json, or preprocessor_config.json";
            return Err(Error::file(folder, message));
        }
        Ok(Self {
            keys: read_object(&path)?,
            path,
            under: None,
        })
    }

    /// Names the file, and the key above, in an error about one of the keys.
    pub fn explain(&self, error: Error) -> Error {
        match self.under {
            Some(key) => error.under(key).in_file(&self.path),
            None => error.in_file(&self.path),
        }
    }
}

impl PlainProcessor {
    /// Reads the processor of a checkpoint's folder; `class` is what it is where the file does not say.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, or has a key that cannot be served.
    pub fn read(folder: &Path, class: Option<ProcessorClass>) -> Result<Self, Error> {
        let file = ProcessorFile::find(folder)?;
        Self::from_keys(file.keys.clone(), class).map_err(|error| file.explain(error))
    }
}

fn read_object(path: &Path) -> Result<Map<String, Value>, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    serde_json::from_reader(BufReader::new(file)).map_err(Error::json(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;
    use vlm_core::Size;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn side(folder: &TempDir) -> usize {
        let processor = PlainProcessor::read(folder.path(), Some(ProcessorClass::Siglip)).unwrap();
        processor.output_size(Size::new(50, 50)).unwrap().height
    }

    const OLD: (&str, &str) = ("preprocessor_config.json", r#"{"size": [10, 10]}"#);
    const NEW: (&str, &str) = (
        "processor_config.json",
        r#"{"patch_size": 14, "image_processor": {"size": [20, 20]}}"#,
    );
    const BARE: (&str, &str) = ("processor_config.json", r#"{"patch_size": 14}"#);

    #[test]
    fn the_nested_object_wins() {
        assert_eq!(side(&folder(&[OLD])), 10);
        assert_eq!(side(&folder(&[OLD, BARE])), 10);
        assert_eq!(side(&folder(&[OLD, NEW])), 20);
        assert_eq!(side(&folder(&[NEW])), 20);
    }

    #[test]
    fn a_class_that_was_left_out_is_written() {
        let folder = folder(&[OLD]);
        let processor = PlainProcessor::read(folder.path(), Some(ProcessorClass::Siglip)).unwrap();
        let class = processor.keys().get("image_processor_type");
        assert_eq!(class.unwrap(), "SiglipImageProcessor");
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let error = |files: &[(&str, &str)]| {
            let folder = folder(files);
            let error =
                PlainProcessor::read(folder.path(), Some(ProcessorClass::Clip)).unwrap_err();
            let path = format!("{}/", folder.path().display());
            error
                .to_string()
                .replace(&path, "")
                .replace(path.trim_end_matches('/'), "folder")
        };
        let expected = "folder: expected image_processor in processor_config.json, or preprocessor_config.json";
        assert_eq!(error(&[BARE]), expected);
        let wrong = (
            "processor_config.json",
            r#"{"image_processor": {"resample": 4}}"#,
        );
        let expected = "processor_config.json: key `image_processor.resample`: expected 0 nearest, \
                        1 lanczos, 2 bilinear or 3 bicubic, found 4 (box)";
        assert_eq!(error(&[wrong]), expected);
        let wrong = ("preprocessor_config.json", r#"{"size": {"hight": 4}}"#);
        assert!(
            error(&[wrong]).starts_with("preprocessor_config.json: key `size"),
            "{}",
            error(&[wrong])
        );
        let wrong = ("processor_config.json", r#"{"image_processor": 3}"#);
        let expected = "processor_config.json: key `image_processor`: expected an object, found 3";
        assert_eq!(error(&[wrong]), expected);
        let wrong = ("preprocessor_config.json", "{\"size\": ");
        assert!(
            error(&[wrong]).starts_with("preprocessor_config.json: EOF while"),
            "{}",
            error(&[wrong])
        );
        let wrong = ("preprocessor_config.json", "[]");
        assert!(
            error(&[wrong]).starts_with("preprocessor_config.json: invalid type"),
            "{}",
            error(&[wrong])
        );
    }
}
