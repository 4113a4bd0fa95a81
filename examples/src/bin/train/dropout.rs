use std::path::Path;

use serde_json::Value;
use vlm::core::Error;

/// Keys of a model's `config.json` that ask for dropout, which no model here has: adapters alone drop out.
///
/// # Errors
///
/// When the file is missing or damaged.
pub fn unapplied(folder: &Path) -> Result<Vec<String>, Error> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let config: Value = serde_json::from_str(&text).map_err(Error::json(&path))?;
    let mut found = Vec::new();
    collect(&config, "", &mut found);
    Ok(found)
}

fn collect(config: &Value, prefix: &str, found: &mut Vec<String>) {
    for (key, value) in config.as_object().into_iter().flatten() {
        let path = format!("{prefix}{key}");
        match value.as_f64() {
            Some(share) if key.contains("dropout") && share > 0.0 => {
                found.push(format!("{path} {share}"));
            }
            _ => collect(value, &format!("{path}."), found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_at_every_level() {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"dropout": 0.0, "text_config": {"attention_dropout": 0.1, "layers": 2}}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let found = unapplied(folder.path()).unwrap();
        assert_eq!(found, ["text_config.attention_dropout 0.1"]);
    }
}
