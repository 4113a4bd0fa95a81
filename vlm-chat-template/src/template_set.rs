//! The chat templates of a checkpoint folder.

use std::path::Path;

use serde_json::Value;

use crate::{
    ChatTemplate, Error, SpecialTokens,
    added_tokens::AddedTokens,
    files::{JsonFile, jinja_files, read_text},
};

/// All chat templates of a checkpoint folder, with its special and control tokens.
///
/// The first of these that is there counts, as with the reference's processors:
///
/// 1. `chat_template` in `processor_config.json`,
/// 2. `chat_template.json` (the old form),
/// 3. `chat_template.jinja`, and `additional_chat_templates/NAME.jinja`,
/// 4. `chat_template` in `tokenizer_config.json`: a string, or a list of `{name, template}`.
///
/// A single template has the name `default`.
///
/// ```
/// use vlm_chat_template::{Message, RenderOptions, TemplateSet};
///
/// let folder = tempfile::tempdir().unwrap();
/// std::fs::write(
///     folder.path().join("tokenizer_config.json"),
///     r#"{"bos_token": "<s>", "chat_template": [
///         {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"},
///         {"name": "tool_use", "template": "tools"}
///     ]}"#,
/// ).unwrap();
///
/// let set = TemplateSet::from_folder(folder.path())?;
/// assert_eq!(set.names().collect::<Vec<_>>(), ["default", "tool_use"]);
/// let prompt = set.default_template()?.render(&[Message::user("Hi")], &RenderOptions::new())?;
/// assert_eq!(prompt.text(), "<s>Hi");
/// # Ok::<(), vlm_chat_template::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TemplateSet {
    templates: Vec<Entry>,
    special_tokens: SpecialTokens,
    tokens: AddedTokens,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    // What errors call it: the file, and the key in it.
    origin: String,
    source: String,
}

impl TemplateSet {
    /// Reads a checkpoint folder.
    ///
    /// # Errors
    ///
    /// [`Error::NoTemplate`] when the folder has none, and [`Error::Read`], [`Error::Json`] or
    /// [`Error::Key`], naming the file and the key, when a file is not as expected.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let mut config = JsonFile::read(folder.join("tokenizer_config.json"))?;
        let templates = templates(folder, config.as_ref())?;
        if let Some(config) = &mut config {
            merge_special_tokens_map(folder, config)?;
        }
        let special_tokens = match &config {
            None => SpecialTokens::new(),
            Some(config) => {
                SpecialTokens::from_tokenizer_config(&config.map).map_err(|(key, found)| {
                    config.unexpected(&key, "a string or an AddedToken object", &found)
                })?
            }
        };
        let tokens = AddedTokens::read(folder, config.as_ref(), &special_tokens)?;
        Ok(TemplateSet {
            templates,
            special_tokens,
            tokens,
        })
    }

    /// The templates' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|entry| entry.name.as_str())
    }

    /// Compiles the template of a name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownTemplate`], listing the names there are, or [`Error::Syntax`].
    pub fn template(&self, name: &str) -> Result<ChatTemplate, Error> {
        let unknown = || Error::UnknownTemplate {
            name: name.into(),
            available: self.names().map(str::to_owned).collect(),
        };
        let entry = self
            .templates
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(unknown)?;
        let template = ChatTemplate::named(&entry.origin, &entry.source)?;
        let template = template.with_special_tokens(self.special_tokens.clone());
        Ok(match self.tokens.control_tokens(template.literals()) {
            Some(tokens) => template.with_control_tokens(tokens),
            None => template,
        })
    }

    /// Compiles the template named `default`.
    pub fn default_template(&self) -> Result<ChatTemplate, Error> {
        self.template("default")
    }

    /// Compiles the template for a conversation with tools: `tool_use` where there is one, or
    /// else `default`.
    ///
    /// ```no_run
    /// # use vlm_chat_template::TemplateSet;
    /// let template = TemplateSet::from_folder("Hermes-3-Llama-3.1-8B")?.tool_template()?;
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn tool_template(&self) -> Result<ChatTemplate, Error> {
        let name = if self.names().any(|name| name == "tool_use") {
            "tool_use"
        } else {
            "default"
        };
        self.template(name)
    }
}

fn templates(folder: &Path, config: Option<&JsonFile>) -> Result<Vec<Entry>, Error> {
    if let Some(file) = JsonFile::read(folder.join("processor_config.json"))?
        && let Some(value) = file.get("chat_template")
    {
        return entries(&file, value);
    }
    let additional = jinja_files(&folder.join("additional_chat_templates"))?;
    if let Some(file) = JsonFile::read(folder.join("chat_template.json"))? {
        if !additional.is_empty() {
            return Err(Error::ConflictingFiles {
                folder: folder.into(),
            });
        }
        let value = file.map.get("chat_template").unwrap_or(&Value::Null);
        return entries(&file, value);
    }
    let mut found = Vec::new();
    let path = folder.join("chat_template.jinja");
    if let Some(source) = read_text(&path)? {
        found.push(Entry {
            name: "default".into(),
            origin: path.display().to_string(),
            source,
        });
    }
    for path in additional {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(source) = read_text(&path)? {
            found.push(Entry {
                name,
                origin: path.display().to_string(),
                source,
            });
        }
    }
    if let Some(file) = config.filter(|_| found.is_empty())
        && let Some(value) = file.get("chat_template")
    {
        found = entries(file, value)?;
    }
    if found.is_empty() {
        return Err(Error::NoTemplate {
            folder: folder.into(),
        });
    }
    Ok(found)
}

/// The templates that a `chat_template` key holds.
fn entries(file: &JsonFile, value: &Value) -> Result<Vec<Entry>, Error> {
    let origin = |name: &str| format!("{}: chat_template.{name}", file.path.display());
    let entry = |key: &str, name: &str, source: Option<&Value>| match source {
        Some(Value::String(source)) => Ok(Entry {
            name: name.into(),
            origin: origin(name),
            source: source.clone(),
        }),
        other => Err(file.unexpected(key, "a template", other.unwrap_or(&Value::Null))),
    };
    match value {
        Value::String(_) => Ok(vec![entry("chat_template", "default", Some(value))?]),
        Value::Object(map) => map
            .iter()
            .map(|(name, source)| entry(&format!("chat_template.{name}"), name, Some(source)))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let key = |key| format!("chat_template[{index}].{key}");
                let name = item.get("name").and_then(Value::as_str);
                let name = name.ok_or_else(|| file.unexpected(&key("name"), "a string", item))?;
                entry(&key("template"), name, item.get("template"))
            })
            .collect(),
        other => Err(file.unexpected(
            "chat_template",
            "a string or a list of {name, template}",
            other,
        )),
    }
}

/// The old `special_tokens_map.json` counts where `tokenizer_config.json` is old as well.
fn merge_special_tokens_map(folder: &Path, config: &mut JsonFile) -> Result<(), Error> {
    if !config.map.contains_key("added_tokens_decoder")
        && let Some(old) = JsonFile::read(folder.join("special_tokens_map.json"))?
    {
        config.map.extend(old.map);
    }
    Ok(())
}
