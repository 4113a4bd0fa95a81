use std::{fmt, path::PathBuf};

/// What does not fit between a checkpoint and a model.
///
/// `{}` is one line with the first keys of each kind, `{:#}` names every key on a line of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checkpoint.
    pub path: PathBuf,
    /// Keys that the model needs and the checkpoint does not have.
    pub missing: Vec<String>,
    /// Keys that the checkpoint has and the model does not know.
    pub unused: Vec<String>,
    /// Keys whose tensors have another shape.
    pub misshaped: Vec<Misshaped>,
    /// Keys that cannot be used for another reason, with the reason.
    pub unusable: Vec<String>,
}

/// A tensor of another shape than the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshaped {
    /// The key.
    pub key: String,
    /// The shape that the configuration asks for, as it would stand in the checkpoint.
    pub expected: Vec<usize>,
    /// The shape that was found.
    pub found: Vec<usize>,
}

/// Keys of each kind that one line names.
const NAMED: usize = 6;

impl Report {
    /// Whether everything fits.
    pub fn is_clean(&self) -> bool {
        self.kinds().iter().all(|(_, keys)| keys.is_empty())
    }

    fn kinds(&self) -> [(&'static str, Vec<String>); 4] {
        let misshaped = self.misshaped.iter().map(Misshaped::to_string).collect();
        [
            ("missing", self.missing.clone()),
            ("of another shape", misshaped),
            ("unknown to the model", self.unused.clone()),
            ("unusable", self.unusable.clone()),
        ]
    }
}

impl fmt::Display for Misshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            expected,
            found,
        } = self;
        write!(f, "{key}: expected {expected:?}, found {found:?}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: the weights do not fit config.json",
            self.path.display()
        )?;
        for (kind, keys) in self.kinds() {
            if keys.is_empty() {
                continue;
            }
            let count = keys.len();
            let noun = if count == 1 { "key is" } else { "keys are" };
            if f.alternate() {
                write!(f, "\n{count} {noun} {kind}:\n  {}", keys.join("\n  "))?;
                continue;
            }
            write!(
                f,
                "; {count} {noun} {kind} ({}",
                keys[..count.min(NAMED)].join(", ")
            )?;
            match count > NAMED {
                true => write!(f, ", and {} more)", count - NAMED)?,
                false => write!(f, ")")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_or_all() {
        let report = Report {
            path: "model".into(),
            missing: (0..8).map(|i| format!("k{i}")).collect(),
            misshaped: vec![Misshaped {
                key: "w".into(),
                expected: vec![2, 3],
                found: vec![3],
            }],
            ..Report::default()
        };
        assert_eq!(
            report.to_string(),
            "model: the weights do not fit config.json; 8 keys are missing (k0, k1, k2, k3, k4, k5, and 2 more); \
             1 key is of another shape (w: expected [2, 3], found [3])"
        );
        assert_eq!(format!("{report:#}").lines().count(), 12);
    }
}
