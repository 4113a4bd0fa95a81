/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// Stays.
    Constant,
    /// Falls to zero on a line.
    Linear,
    /// Falls to zero on half a cosine.
    Cosine,
}

/// A learning rate that warms up on a line and then follows its [`ScheduleKind`]: transformers'
/// `get_scheduler`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// What comes after the warmup.
    pub kind: ScheduleKind,
    /// Steps of the warmup.
    pub warmup_steps: usize,
    /// Steps of the run.
    pub total_steps: usize,
}

impl Schedule {
    /// A schedule whose warmup takes `warmup_ratio` of the run, rounded up.
    pub fn new(kind: ScheduleKind, warmup_ratio: f64, total_steps: usize) -> Self {
        Self {
            kind,
            warmup_steps: (warmup_ratio * total_steps as f64).ceil() as usize,
            total_steps,
        }
    }

    /// The factor of the learning rate at a step, counted from 0.
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps.max(1) as f64;
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = (step - self.warmup_steps) as f64 / rest;
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => (1.0 - progress).max(0.0),
            ScheduleKind::Cosine => {
                (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_then_decay() {
        let factors = |kind| -> Vec<f64> {
            let schedule = Schedule::new(kind, 0.15, 10);
            [0, 1, 2, 6, 10].map(|step| schedule.factor(step)).to_vec()
        };
        assert_eq!(factors(ScheduleKind::Constant), [0.0, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(factors(ScheduleKind::Linear), [0.0, 0.5, 1.0, 0.5, 0.0]);
        let cosine = factors(ScheduleKind::Cosine);
        assert!((cosine[3] - 0.5).abs() < 1e-12 && cosine[4].abs() < 1e-12);
    }
}
