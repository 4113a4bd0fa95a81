use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Device, FloatDType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vlm_core::{
    Error,
    checkpoint::{Checkpoint, save_tensors},
};

use crate::{AdamW, Moments};

/// What a run keeps beside the weights in order to go on.
///
/// Random numbers and the order of the data are functions of seed and step, so they need nothing of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Steps done.
    pub step: usize,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since, none of them better.
    pub stale: usize,
    /// What decides how the run goes: names and values.
    pub settings: BTreeMap<String, Value>,
    /// Steps that the optimizer has seen of each parameter.
    #[serde(default)]
    times: BTreeMap<String, usize>,
}

/// An evaluation that no other was better than.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The step after which it was.
    pub step: usize,
    /// Its loss.
    #[serde(with = "exact")]
    pub loss: f64,
}

/// A number as text: serde_json reads some numbers off by their last bit.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&number.to_string())
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Step, settings and times.
const STATE_FILE: &str = "trainer_state.json";
/// The moments.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// What of a checkpoint is for going on alone.
pub(crate) const FILES: [&str; 2] = [STATE_FILE, OPTIMIZER_FILE];

impl RunState {
    /// Writes the state and the optimizer's memory into a folder.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, optimizer: &AdamW, folder: &Path) -> Result<(), Error> {
        let moments = optimizer.moments();
        let times = moments.iter().map(|one| (one.path.clone(), one.time));
        let state = Self {
            times: times.collect(),
            ..self.clone()
        };
        let path = folder.join(STATE_FILE);
        let text = serde_json::to_string_pretty(&state).map_err(Error::json(&path))?;
        std::fs::write(&path, text + "\n").map_err(Error::io(&path))?;
        let tensors = moments.into_iter().flat_map(|one| {
            let Moments {
                path,
                first,
                second,
                ..
            } = one;
            [
                (format!("{path}.first"), first),
                (format!("{path}.second"), second),
            ]
        });
        save_tensors(tensors, folder.join(OPTIMIZER_FILE))
    }

    /// Reads the state alone.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(STATE_FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        serde_json::from_str(&text).map_err(Error::json(&path))
    }

    /// Reads the optimizer's memory that belongs to this state.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged.
    pub fn restore(
        &self,
        optimizer: &mut AdamW,
        folder: &Path,
        device: &Device,
    ) -> Result<(), Error> {
        let file = Checkpoint::open_file(folder.join(OPTIMIZER_FILE))?;
        let moments = self.times.iter().map(|(path, time)| {
            let read = |name: &str| file.read(&format!("{path}.{name}"), FloatDType::F32);
            Ok(Moments {
                path: path.clone(),
                time: *time,
                first: read("first")?,
                second: read("second")?,
            })
        });
        optimizer.restore(moments.collect::<Result<_, Error>>()?, device);
        Ok(())
    }

    /// Refuses to go on with other settings, by name.
    ///
    /// # Errors
    ///
    /// When a setting has another value than the run began with.
    pub fn check(&self, settings: &BTreeMap<String, Value>) -> Result<(), Error> {
        let names: std::collections::BTreeSet<&String> =
            self.settings.keys().chain(settings.keys()).collect();
        for name in names {
            let (before, now) = (self.settings.get(name), settings.get(name));
            // Read as the other was: serde_json reads some numbers off by their last bit.
            let read = now.and_then(|now| serde_json::from_str::<Value>(&now.to_string()).ok());
            if before != read.as_ref() {
                let shown = |value: Option<&Value>| match value {
                    None | Some(Value::Null) => "nothing".to_owned(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                };
                return Err(Error::Request(format!(
                    "--{name}: the run that is to go on began with {}, found {}",
                    shown(before),
                    shown(now)
                )));
            }
        }
        Ok(())
    }

    /// Takes note of an evaluation's loss; true where it is the best so far.
    pub fn evaluated(&mut self, loss: f64) -> bool {
        let better = loss.is_finite() && self.best.is_none_or(|best| loss < best.loss);
        self.stale = if better { 0 } else { self.stale + 1 };
        if better {
            let step = self.step;
            self.best = Some(Best { step, loss });
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use serde_json::json;

    #[test]
    fn moments_come_back_bit_for_bit() {
        let device = Device::default();
        let folder = tempfile::tempdir().unwrap();
        let data = |values: [f32; 3]| TensorData::from(values);
        let mut optimizer = AdamW::new(0.0, 0.999);
        let moments = Moments {
            path: "decoder.w".to_owned(),
            time: 7,
            first: data([0.1, -1e-30, 3.0]),
            second: data([1e-38, 0.2, f32::MIN_POSITIVE]),
        };
        optimizer.restore(vec![moments.clone()], &device);
        let best = Some(Best {
            step: 5,
            loss: 3.6189557295639085,
        });
        let state = RunState {
            step: 7,
            best,
            settings: [
                ("seed".to_owned(), json!(3)),
                ("rate".to_owned(), json!(3.6189557295639085)),
            ]
            .into(),
            ..RunState::default()
        };
        state.save(&optimizer, folder.path()).unwrap();
        let found = RunState::from_folder(folder.path()).unwrap();
        assert_eq!((found.step, found.best), (7, best));
        found.check(&state.settings).unwrap();
        let mut restored = AdamW::new(0.0, 0.999);
        found
            .restore(&mut restored, folder.path(), &device)
            .unwrap();
        let found = restored.moments().remove(0);
        assert_eq!((found.path, found.time), (moments.path, moments.time));
        assert_eq!((found.first, found.second), (moments.first, moments.second));
    }

    #[test]
    fn another_setting_is_named() {
        let state = RunState {
            settings: [("seed".to_owned(), json!(3))].into(),
            ..RunState::default()
        };
        let error = state.check(&[("seed".to_owned(), json!(4))].into());
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "--seed: the run that is to go on began with 3, found 4"
        );
        let error = state.check(&BTreeMap::new()).unwrap_err().to_string();
        assert!(error.ends_with("found nothing"), "{error}");
    }

    #[test]
    fn the_best_is_remembered_and_the_rest_counted() {
        let mut state = RunState::default();
        for (step, loss, better) in [
            (1, 2.0, true),
            (2, 3.0, false),
            (3, f64::NAN, false),
            (4, 1.0, true),
        ] {
            state.step = step;
            assert_eq!(state.evaluated(loss), better);
        }
        assert_eq!((state.best.unwrap().step, state.stale), (4, 0));
    }
}
