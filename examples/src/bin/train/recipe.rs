use std::{ffi::OsString, path::PathBuf};

use clap::CommandFactory;
use toml::{Table, Value};
use vlm::Error;

use crate::args::Args;

/// The arguments with those of a recipe before them, so that they win.
///
/// A recipe is a table of flags without their dashes; numbers, texts, lists of texts, `true` for a flag that stands
/// alone and `false` for one that does not.
pub fn arguments(given: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, Error> {
    let mut given: Vec<OsString> = given.collect();
    let Some(path) = recipe_of(&given) else {
        return Ok(given);
    };
    let text = std::fs::read_to_string(&path).map_err(core_io(&path))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let message = error.message().split_whitespace().collect::<Vec<_>>();
        usage(&path, &message.join(" "))
    })?;
    let flags = flags(&table).map_err(|message| usage(&path, &message))?;
    given.splice(1..1, flags.into_iter().map(OsString::from));
    Ok(given)
}

fn recipe_of(given: &[OsString]) -> Option<PathBuf> {
    let mut given = given.iter();
    while let Some(argument) = given.next() {
        if argument == "--recipe" {
            return given.next().map(PathBuf::from);
        }
        if let Some(path) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--recipe="))
        {
            return Some(PathBuf::from(path));
        }
    }
    None
}

fn flags(table: &Table) -> Result<Vec<String>, String> {
    let command = Args::command();
    let known = |key: &str| {
        let mut arguments = command.get_arguments();
        arguments.find(|argument| argument.get_long() == Some(key) && key != "recipe")
    };
    let mut flags = Vec::new();
    for (key, value) in table {
        let argument = known(key).ok_or_else(|| format!("key `{key}` is no flag of train"))?;
        let alone = !argument.get_action().takes_values();
        let expected = |what: &str| Err(format!("key `{key}`: expected {what}, found {value}"));
        let text = match value {
            Value::Boolean(on) if alone => {
                flags.extend(on.then(|| format!("--{key}")));
                continue;
            }
            _ if alone => return expected("true or false"),
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Array(values) => {
                let texts = values.iter().map(Value::as_str);
                match texts.collect::<Option<Vec<&str>>>() {
                    Some(texts) => texts.join(","),
                    None => return expected("a list of texts"),
                }
            }
            _ => return expected("a number, a text or a list of texts"),
        };
        flags.push(format!("--{key}={text}"));
    }
    Ok(flags)
}

fn usage(path: &std::path::Path, message: &str) -> Error {
    Error::Usage(format!("--recipe {}: {message}", path.display()))
}

fn core_io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
    let named = vlm::core::Error::io(path);
    move |error| Error::Core(named(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(recipe: &str, given: &[&str]) -> Result<Args, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, recipe).unwrap();
        let path = path.to_str().unwrap();
        let base = [
            "train", "--model", "m", "--data", "d", "--output", "o", "--recipe", path,
        ];
        let given = base.iter().chain(given).map(OsString::from);
        let arguments = arguments(given).map_err(|error| error.to_string())?;
        Args::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_come_before_a_recipe() {
        let recipe = "train = \"lora\"\nlearning-rate = 2e-4\nlora-targets = [\"k_proj\", \"o_proj\"]\n\
                      lora-rank = 128\ngroup-by-length = true\npacking = false\nepochs = 2";
        let args = parse(recipe, &["--lora-rank", "4", "--steps=7"]).unwrap();
        assert_eq!(
            (args.lora_rank, args.learning_rate, args.steps),
            (4, 2e-4, Some(7))
        );
        assert_eq!(args.lora_targets, ["k_proj", "o_proj"]);
        assert!(args.group_by_length && !args.packing);
    }

    #[test]
    fn unknown_keys_and_values_are_named() {
        for (recipe, message) in [
            (
                "learning_rate = 1",
                "key `learning_rate` is no flag of train",
            ),
            ("recipe = \"x\"", "key `recipe` is no flag of train"),
            (
                "packing = 1",
                "key `packing`: expected true or false, found 1",
            ),
            (
                "lora-targets = [1]",
                "key `lora-targets`: expected a list of texts, found [1]",
            ),
            ("train = ", "--recipe"),
        ] {
            let error = parse(recipe, &[]).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_repositorys_recipes_are_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            parse(&text, &[]).unwrap();
            count += 1;
        }
        assert_eq!(count, 7);
    }
}
