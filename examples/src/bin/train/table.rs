use std::collections::BTreeMap;

use vlm::train::{ParameterRow, TrainerConfig, is_adapter};

/// Trainable and frozen parameters of each part of a model, and at which learning rate they learn.
///
/// ```text
/// part                trains       frozen     rate
/// decoder                  0    1,035,264
/// decoder adapters     8,192            0   2.0e-4
/// ```
pub fn table(rows: &[ParameterRow], config: &TrainerConfig) -> String {
    let mut parts: BTreeMap<String, (usize, usize, Option<f64>)> = BTreeMap::new();
    for row in rows {
        let root = row.path.split('.').next().unwrap_or_default();
        let name = match is_adapter(&row.path) {
            true => format!("{root} adapters"),
            false => root.to_owned(),
        };
        let (trains, frozen, rate) = parts.entry(name).or_default();
        match row.trains {
            true => {
                *trains += row.values;
                *rate = Some(config.learning_rate_of(&row.path));
            }
            false => *frozen += row.values,
        }
    }
    let sum = |of: fn(&(usize, usize, Option<f64>)) -> usize| parts.values().map(of).sum::<usize>();
    let all = (sum(|part| part.0), sum(|part| part.1), None);
    let width = parts.keys().map(String::len).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:width$}  {:>15}  {:>15}  {:>8}\n",
        "part", "trains", "frozen", "rate"
    );
    for (name, (trains, frozen, rate)) in parts.iter().chain([(&"in all".to_owned(), &all)]) {
        let rate = rate.map_or_else(String::new, |rate| format!("{rate:.1e}"));
        let line = format!(
            "{name:width$}  {:>15}  {:>15}  {rate:>8}",
            thousands(*trains),
            thousands(*frozen)
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// `1234567 -> 1,234,567`
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use vlm::train::{Schedule, ScheduleKind};

    #[test]
    fn adapters_stand_beside_what_they_adapt() {
        let row = |path: &str, values, trains| ParameterRow {
            path: path.to_owned(),
            values,
            trains,
        };
        let rows = [
            row("decoder.norm.weight", 1_234_567, false),
            row("decoder.q_proj.weight.lora.a", 12, true),
            row("projector.weight", 100, true),
        ];
        let config = TrainerConfig {
            learning_rate: 2e-4,
            projector_learning_rate: Some(2e-5),
            schedule: Schedule::new(ScheduleKind::Constant, 0.0, 1),
            weight_decay: 0.0,
            adam_beta2: 0.999,
            max_grad_norm: 1.0,
            seed: 0,
        };
        let text = table(&rows, &config);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["decoder", "0", "1,234,567"]);
        assert_eq!(lines[2], ["decoder", "adapters", "12", "0", "2.0e-4"]);
        assert_eq!(lines[3], ["projector", "100", "0", "2.0e-5"]);
        assert_eq!(lines[4], ["in", "all", "112", "1,234,567"]);
    }
}
