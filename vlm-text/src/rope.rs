//! Rotary settings of a `config.json`, in both generations: `rope_parameters`, or `rope_theta` with
//! `rope_scaling`.

use serde_json::{Value, json};
use vlm_core::{
    ConfigReader, Error,
    nn::{RopeScaling, RotaryConfig},
};

/// What the kinds of scaling have; the reference warns of one that its kind does not read.
const KEYS: [&str; 12] = [
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "factor",
    "high_freq_factor",
    "long_factor",
    "low_freq_factor",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "short_factor",
    "truncate",
];

/// What a family takes for keys that are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub theta: f64,
    /// Share of a head that turns; none where the family turns whole heads whatever the key says.
    pub partial: Option<f64>,
}

impl Defaults {
    /// Of Llama, Mistral and Qwen2.
    pub const WHOLE_HEADS: Self = Self {
        theta: 10000.0,
        partial: None,
    };
}

/// Reads the rotary settings; `max_position_embeddings` must have been read before.
pub(crate) fn from_hf(
    reader: &mut ConfigReader,
    head_dim: usize,
    max_position_embeddings: usize,
    defaults: Defaults,
) -> Result<RotaryConfig, Error> {
    let outer_theta = reader.get::<f64>("rope_theta")?;
    let outer_partial = reader.get::<f64>("partial_rotary_factor")?;
    let outer_trained = reader.get::<usize>("original_max_position_embeddings")?;
    let new = reader.object("rope_parameters")?;
    // An empty object counts as none in the reference.
    let old = reader.object("rope_scaling")?.filter(|old| !old.is_empty());
    let new = new.filter(|new| !new.is_empty());
    let config = RotaryConfig::new(head_dim).with_max_position_embeddings(max_position_embeddings);
    // As in the reference: where both are given, the old form counts.
    let Some(mut rope) = old.or(new) else {
        let partial = defaults.partial.map(|usual| outer_partial.unwrap_or(usual));
        return Ok(config
            .with_rope_theta(outer_theta.unwrap_or(defaults.theta))
            .with_partial_rotary_factor(partial.unwrap_or(1.0)));
    };
    let theta = rope
        .get("rope_theta")?
        .or(outer_theta)
        .unwrap_or(defaults.theta);
    let partial = rope
        .get("partial_rotary_factor")?
        .or(outer_partial)
        .or(defaults.partial)
        .unwrap_or(1.0);
    let kind: Option<String> = rope.get("rope_type")?;
    let older_kind: Option<String> = rope.get("type")?;
    let kind = kind.or(older_kind).unwrap_or_else(|| "default".to_owned());
    let factor = |rope: &mut ConfigReader, key: &str| -> Result<f64, Error> {
        let value = rope.get::<f64>(key)?;
        value.ok_or_else(|| rope.error(key, format!("rope_type `{kind}` needs this key")))
    };
    let trained = |rope: &mut ConfigReader| -> Result<usize, Error> {
        let inner = rope.get::<usize>("original_max_position_embeddings")?;
        Ok(outer_trained.or(inner).unwrap_or(max_position_embeddings))
    };
    let scaling = match kind.as_str() {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear {
            factor: factor(&mut rope, "factor")?,
        },
        "dynamic" => RopeScaling::Dynamic {
            factor: factor(&mut rope, "factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: factor(&mut rope, "factor")?,
            low_freq_factor: factor(&mut rope, "low_freq_factor")?,
            high_freq_factor: factor(&mut rope, "high_freq_factor")?,
            original_max_position_embeddings: trained(&mut rope)?,
        },
        "yarn" => RopeScaling::Yarn {
            factor: rope.get("factor")?,
            original_max_position_embeddings: trained(&mut rope)?,
            attention_factor: rope.get("attention_factor")?,
            beta_fast: rope.get("beta_fast")?,
            beta_slow: rope.get("beta_slow")?,
            mscale: rope.get("mscale")?,
            mscale_all_dim: rope.get("mscale_all_dim")?,
            truncate: rope.get("truncate")?,
        },
        "longrope" | "su" => {
            let mut divisors = |key: &str| -> Result<Vec<f64>, Error> {
                let values: Vec<f64> = rope
                    .get(key)?
                    .ok_or_else(|| rope.error(key, "rope_type `longrope` needs this key"))?;
                let expected = (head_dim as f64 * partial) as usize / 2;
                match values.len() == expected {
                    true => Ok(values),
                    false => Err(rope.error(
                        key,
                        format!("expected {expected} numbers, found {}", values.len()),
                    )),
                }
            };
            RopeScaling::LongRope {
                short_factor: divisors("short_factor")?,
                long_factor: divisors("long_factor")?,
                original_max_position_embeddings: trained(&mut rope)?,
                factor: rope.get("factor")?,
                attention_factor: rope.get("attention_factor")?,
            }
        }
        other => {
            return Err(rope.error(
                "rope_type",
                format!(
                    "expected default, linear, dynamic, llama3, yarn or longrope, found `{other}`"
                ),
            ));
        }
    };
    if defaults.partial.is_none() && partial != 1.0 && scaling != RopeScaling::Default {
        let message = format!("these decoders turn whole heads, found {partial}");
        return Err(rope.error("partial_rotary_factor", message));
    }
    // Keys of other kinds change nothing in the reference, either; a key that no kind has is refused.
    rope.ignore(&KEYS);
    rope.finish()?;
    // Without scaling the reference's Llama, Mistral and Qwen2 do not read partial_rotary_factor.
    let partial = defaults.partial.map_or(1.0, |_| partial);
    Ok(config
        .with_rope_theta(theta)
        .with_partial_rotary_factor(partial)
        .with_scaling(scaling))
}

/// Refuses settings under which no dimensions turn, more than a head has, or not in pairs; `key` is named.
pub(crate) fn check_pairs(
    reader: &ConfigReader,
    key: &str,
    rotary: &RotaryConfig,
) -> Result<(), Error> {
    let dim = rotary.rotary_dim();
    match dim > 0 && dim <= rotary.head_dim && dim.is_multiple_of(2) {
        true => Ok(()),
        false => {
            let message = format!("{dim} rotary dimensions cannot turn in pairs");
            Err(reader.error(key, message))
        }
    }
}

/// The settings as `rope_parameters`.
pub(crate) fn to_hf(config: &RotaryConfig) -> Value {
    let mut value = serde_json::to_value(&config.scaling).unwrap_or_else(|_| json!({}));
    if let Value::Object(keys) = &mut value {
        keys.retain(|_, value| !value.is_null());
        keys.insert("rope_theta".to_owned(), json!(config.rope_theta));
        if config.partial_rotary_factor != 1.0 {
            let partial = json!(config.partial_rotary_factor);
            keys.insert("partial_rotary_factor".to_owned(), partial);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(rope: Value) -> Result<RotaryConfig, Error> {
        let mut reader = ConfigReader::new(json!({ "rope_parameters": rope })).unwrap();
        from_hf(&mut reader, 8, 96, Defaults::WHOLE_HEADS)
    }

    #[test]
    fn keys_of_another_kind_change_nothing_and_unknown_ones_are_refused() {
        let kinds = [
            json!({ "rope_type": "default" }),
            json!({ "rope_type": "linear", "type": "linear", "factor": 2.0 }),
            json!({ "rope_type": "dynamic", "factor": 2.0 }),
            json!({ "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 24 }),
        ];
        for kind in kinds {
            let plain = format!("{:?}", read(kind.clone()).unwrap());
            let mut more = kind.clone();
            for key in KEYS {
                if kind.get(key).is_none() {
                    more[key] = json!(3.0);
                }
            }
            assert_eq!(format!("{:?}", read(more).unwrap()), plain);
            let mut unknown = kind;
            unknown["beta"] = json!(1.0);
            let error = read(unknown).unwrap_err().to_string();
            assert!(error.starts_with("key `rope_parameters.beta`"), "{error}");
        }
    }

    #[test]
    fn the_share_that_turns_is_the_innermost_that_is_given() {
        let share = |keys: Value, partial: Option<f64>| {
            let mut reader = ConfigReader::new(keys).unwrap();
            let theta = 25000.0;
            let defaults = Defaults { theta, partial };
            let config = from_hf(&mut reader, 8, 96, defaults).unwrap();
            config.partial_rotary_factor
        };
        let inner = json!({ "rope_theta": 3.0, "partial_rotary_factor": 0.75 });
        for (keys, wanted) in [
            (json!({}), 0.5),
            (json!({ "partial_rotary_factor": 0.25 }), 0.25),
            (json!({ "rope_parameters": { "rope_theta": 3.0 } }), 0.5),
            (
                json!({ "partial_rotary_factor": 0.25, "rope_parameters": inner }),
                0.75,
            ),
        ] {
            assert_eq!(share(keys.clone(), Some(0.5)), wanted, "{keys}");
            assert_eq!(share(keys, None), 1.0);
        }
    }
}
