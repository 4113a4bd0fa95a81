use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use vlm::{Error, core};

/// A step's line of `metrics.jsonl`; the output of `--format json` is a part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub step: usize,
    pub loss: f64,
    pub learning_rate: f64,
    pub grad_norm: f64,
    pub tokens: usize,
    pub token_accuracy: f64,
    pub entropy: f64,
    pub tokens_per_s: f64,
    pub epoch: f64,
}

/// An evaluation's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    pub step: usize,
    pub eval_loss: f64,
    pub eval_tokens: usize,
    pub eval_token_accuracy: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    Step(Step),
    Eval(Eval),
}

impl Line {
    fn step(&self) -> usize {
        match self {
            Self::Step(line) => line.step,
            Self::Eval(line) => line.step,
        }
    }
}

/// The log of a run, a line for every step and every evaluation.
pub struct Metrics {
    path: PathBuf,
    file: File,
    pub lines: Vec<Line>,
}

impl Metrics {
    /// The file's place in the output folder.
    pub fn path(output: &Path) -> PathBuf {
        output.join("metrics.jsonl")
    }

    /// Goes on after `step`; what a killed run wrote of later steps is dropped.
    pub fn open(output: &Path, step: usize) -> Result<Self, Error> {
        let path = Self::path(output);
        let kept: Vec<(String, Line)> = match File::open(&path) {
            Ok(file) => {
                let lines = BufReader::new(file).lines().map_while(Result::ok);
                // The last line may be cut off.
                let lines = lines.map_while(|text| {
                    let line = serde_json::from_str::<Line>(&text).ok()?;
                    Some((text, line))
                });
                lines.filter(|(_, line)| line.step() <= step).collect()
            }
            Err(_) => Vec::new(),
        };
        let partial = output.join("metrics.jsonl.partial");
        let mut file = File::create(&partial).map_err(core::Error::io(&partial))?;
        // As they stand: numbers that are read and written again may lose their last digit.
        for (text, _) in &kept {
            writeln!(file, "{text}").map_err(core::Error::io(&partial))?;
        }
        std::fs::rename(&partial, &path).map_err(core::Error::io(&path))?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(core::Error::io(&path))?;
        let lines = kept.into_iter().map(|(_, line)| line).collect();
        Ok(Self { path, file, lines })
    }

    pub fn add(&mut self, line: Line) -> Result<(), Error> {
        write(&mut self.file, &line, &self.path)?;
        self.lines.push(line);
        Ok(())
    }

    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.lines.iter().filter_map(|line| match line {
            Line::Step(step) => Some(step),
            Line::Eval(_) => None,
        })
    }

    pub fn evals(&self) -> impl Iterator<Item = &Eval> {
        self.lines.iter().filter_map(|line| match line {
            Line::Eval(eval) => Some(eval),
            Line::Step(_) => None,
        })
    }
}

fn write(file: &mut File, line: &Line, path: &Path) -> Result<(), Error> {
    let text = serde_json::to_string(line).map_err(core::Error::json(path))?;
    Ok(writeln!(file, "{text}").map_err(core::Error::io(path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: usize) -> Line {
        Line::Eval(Eval {
            step,
            eval_loss: 0.1 + step as f64,
            eval_tokens: 3,
            eval_token_accuracy: 0.5,
        })
    }

    #[test]
    fn later_and_broken_lines_are_dropped_when_a_run_goes_on() {
        let output = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(output.path(), 0).unwrap();
        for step in 1..=4 {
            metrics.add(line(step)).unwrap();
        }
        write!(metrics.file, "{{\"step\": 5, \"eval").unwrap();
        let mut metrics = Metrics::open(output.path(), 2).unwrap();
        assert_eq!(metrics.lines, [line(1), line(2)]);
        metrics.add(line(3)).unwrap();
        let metrics = Metrics::open(output.path(), 9).unwrap();
        assert_eq!(metrics.evals().count(), 3);
    }
}
