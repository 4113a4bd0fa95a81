use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// `adapter_config.json`: a LoRA adapter in PEFT's layout.
///
/// What is not among the fields is refused unless it says nothing (`null`, `false`, empty): such keys change
/// what an adapter computes (`use_dora`, `lora_bias`) or which tensors it has (`layer_replication`).
///
/// ```
/// use vlm_core::checkpoint::AdapterConfig;
/// let mut config = AdapterConfig::new(8, 16.0, ["q_proj", "v_proj"]);
/// assert_eq!(config.scale("model.layers.0.self_attn.q_proj"), 2.0);
/// config.use_rslora = true;
/// assert_eq!(config.scale("model.layers.0.self_attn.q_proj"), 16.0 / 8.0_f64.sqrt());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// `LORA`.
    pub peft_type: String,
    /// Rank of the factors.
    #[serde(default = "eight")]
    pub r: usize,
    /// Numerator of the scale.
    #[serde(default = "eight_wide")]
    pub lora_alpha: f64,
    /// Whether the scale is `lora_alpha / √r` ([Kalajdzievski 2023](https://arxiv.org/abs/2312.03732)) in place
    /// of `lora_alpha / r`.
    #[serde(default)]
    pub use_rslora: bool,
    /// Ranks of single modules, by the end of their name.
    #[serde(default)]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Numerators of single modules, by the end of their name.
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Which modules are adapted: names, or one regular expression. The file of weights decides when an
    /// adapter is read.
    #[serde(default)]
    pub target_modules: Value,
    /// Modules that are stored whole, such as a projector.
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
    /// Dropped inputs while training; nothing at inference.
    #[serde(default)]
    pub lora_dropout: f64,
    /// `none`: biases stay those of the model. What else there is, is refused.
    #[serde(default = "none")]
    pub bias: String,
    /// The model that was adapted.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// What the model is trained to do.
    #[serde(default)]
    pub task_type: Option<String>,
    /// Whether the adapter is not being trained.
    #[serde(default)]
    pub inference_mode: bool,
    /// All the rest.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// Keys that change nothing about an adapter that is stored: how it began, was trained or was placed.
const INERT: [&str; 16] = [
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

fn eight() -> usize {
    8
}

fn eight_wide() -> f64 {
    8.0
}

fn none() -> String {
    "none".to_owned()
}

impl AdapterConfig {
    /// The file's name in an adapter's folder.
    pub const FILE: &str = "adapter_config.json";

    /// LoRA on the modules whose names end so.
    pub fn new(
        r: usize,
        lora_alpha: f64,
        target_modules: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let targets = target_modules.into_iter().map(Into::into);
        Self {
            peft_type: "LORA".to_owned(),
            r,
            lora_alpha,
            use_rslora: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            target_modules: targets.map(Value::String).collect(),
            modules_to_save: None,
            lora_dropout: 0.0,
            bias: none(),
            base_model_name_or_path: None,
            task_type: None,
            inference_mode: true,
            rest: BTreeMap::new(),
        }
    }

    /// Reads `adapter_config.json` of a folder.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, or a key asks for what is not supported.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let path = folder.as_ref().join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let config: Self = serde_json::from_str(&text).map_err(Error::json(&path))?;
        config.check().map_err(|error| error.in_file(&path))?;
        Ok(config)
    }

    /// Writes `adapter_config.json` into a folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let path = folder.as_ref().join(Self::FILE);
        let text = serde_json::to_string_pretty(self).map_err(Error::json(&path))?;
        std::fs::write(&path, text + "\n").map_err(Error::io(&path))
    }

    fn check(&self) -> Result<(), Error> {
        let expected = |key: &str, expected: &str, found: &dyn std::fmt::Display| {
            Err(Error::key(
                key,
                format!("expected {expected}, found {found}"),
            ))
        };
        if self.peft_type != "LORA" {
            return expected("peft_type", "LORA", &self.peft_type);
        }
        if self.bias != "none" {
            return expected("bias", "none", &self.bias);
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return expected("lora_dropout", "a share below 1", &self.lora_dropout);
        }
        if self.r == 0 || self.rank_pattern.values().any(|rank| *rank == 0) {
            return expected("r", "1 or more", &0);
        }
        for (name, keys) in [
            ("rank_pattern", self.rank_pattern.keys().collect::<Vec<_>>()),
            ("alpha_pattern", self.alpha_pattern.keys().collect()),
        ] {
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
            if let Some(key) = keys.into_iter().find(|key| !key.chars().all(plain)) {
                return expected(name, "ends of module names, no regular expressions", key);
            }
        }
        // Such factors belong to a base that was changed when the adapter began.
        let begun = self.rest.get("init_lora_weights").and_then(Value::as_str);
        if let Some(begun) = begun.filter(|way| !["gaussian", "orthogonal", "eva"].contains(way)) {
            return expected(
                "init_lora_weights",
                "true, gaussian, orthogonal or eva",
                &begun,
            );
        }
        for (key, value) in &self.rest {
            let says_nothing = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Object(keys) => keys.is_empty(),
                Value::Array(values) => values.is_empty(),
                _ => false,
            };
            if !says_nothing && !INERT.contains(&key.as_str()) {
                return expected(key, "nothing, which is all that is supported", value);
            }
        }
        Ok(())
    }

    /// Rank of a module, by the name that it has in the adapter's file.
    pub fn rank(&self, module: &str) -> usize {
        of_module(&self.rank_pattern, module).unwrap_or(self.r)
    }

    /// Whether the parameter with this key is of a module that is stored whole.
    pub fn is_whole(&self, key: &str) -> bool {
        let parts: Vec<&str> = key.split('.').collect();
        self.modules_to_save.iter().flatten().any(|module| {
            let module: Vec<&str> = module.split('.').collect();
            parts.windows(module.len()).any(|part| part == module)
        })
    }

    /// Factor on the product of a module's factors.
    pub fn scale(&self, module: &str) -> f64 {
        let alpha = of_module(&self.alpha_pattern, module).unwrap_or(self.lora_alpha);
        let rank = self.rank(module) as f64;
        match self.use_rslora {
            true => alpha / rank.sqrt(),
            false => alpha / rank,
        }
    }
}

/// The value of the first pattern that is a module's name, or its end after a dot.
fn of_module<T: Copy>(patterns: &BTreeMap<String, T>, module: &str) -> Option<T> {
    let fits = |pattern: &str| {
        let before = module.strip_suffix(pattern);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    patterns
        .iter()
        .find(|(pattern, _)| fits(pattern))
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AdapterConfig, String> {
        let config: AdapterConfig = serde_json::from_str(text).map_err(|e| e.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn patterns_name_the_end_of_a_module() {
        let config = read(
            r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": false, "layers_to_transform": [1],
                "rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 16}}"#,
        )
        .unwrap();
        assert_eq!(config.rank("model.layers.1.self_attn.q_proj"), 2);
        assert_eq!(config.rank("model.layers.11.self_attn.q_proj"), 4);
        assert_eq!(config.scale("model.layers.0.self_attn.v_proj"), 4.0);
        assert_eq!(config.scale("model.layers.1.self_attn.q_proj"), 4.0);
    }

    #[test]
    fn what_changes_the_sums_is_refused_by_name() {
        for (text, message) in [
            (r#""use_dora": true"#, "key `use_dora`: expected nothing"),
            (r#""bias": "all""#, "key `bias`: expected none, found all"),
            (r#""lora_bias": true"#, "key `lora_bias`"),
            (r#""rank_pattern": {"^x$": 2}"#, "key `rank_pattern`"),
            (r#""tomorrow": 1"#, "key `tomorrow`"),
            (r#""r": 0"#, "key `r`: expected 1 or more"),
            (
                r#""lora_dropout": 1.5"#,
                "key `lora_dropout`: expected a share below 1, found 1.5",
            ),
        ] {
            let error = read(&format!(r#"{{"peft_type": "LORA", {text}}}"#)).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        assert!(
            read(r#"{"peft_type": "LOHA"}"#)
                .unwrap_err()
                .contains("expected LORA, found LOHA")
        );
    }
}
