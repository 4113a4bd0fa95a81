use std::{fmt, time::Duration};

use serde_json::{Value, json};
use vlm::text::{Answer, EndReason};

/// Where the time of a request went.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Reading the weights.
    pub load: Duration,
    /// Resizing pictures, tokenising text.
    pub preprocess: Duration,
    /// Encoder and projector.
    pub encode: Duration,
    /// The language model over the prompt.
    pub prefill: Duration,
    /// From the first pixel to the first text, weights being loaded.
    pub first_token: Duration,
    /// Of the answer, once the prompt is read.
    pub tokens_per_second: f64,
}

impl Stats {
    pub fn to_json(&self) -> Value {
        json!({
            "load_ms": ms(self.load),
            "preprocess_ms": ms(self.preprocess),
            "encode_ms": ms(self.encode),
            "prefill_ms": ms(self.prefill),
            "time_to_first_token_ms": ms(self.first_token),
            "decode_tokens_per_s": self.tokens_per_second,
            "peak_rss_mib": peak_rss_mib(),
        })
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "load         {:>10.1} ms", ms(self.load))?;
        writeln!(f, "preprocess   {:>10.1} ms", ms(self.preprocess))?;
        writeln!(f, "encode       {:>10.1} ms", ms(self.encode))?;
        writeln!(f, "prefill      {:>10.1} ms", ms(self.prefill))?;
        writeln!(f, "first token  {:>10.1} ms", ms(self.first_token))?;
        write!(f, "decode       {:>10.1} tokens/s", self.tokens_per_second)?;
        match peak_rss_mib() {
            Some(peak) => write!(f, "\npeak memory  {peak:>10.1} MiB"),
            None => Ok(()),
        }
    }
}

/// Tokens by the time that they took once the prompt was read.
///
/// The prompt's pass gives the first token and each further pass the next one, so an answer that is cut off took a
/// pass less than it has tokens, and one that the model ended as many.
pub fn tokens_per_second(answer: &Answer, time: Duration) -> f64 {
    let cut = answer.generated.end != EndReason::EndOfSequence;
    let passes = answer
        .generated
        .tokens
        .len()
        .saturating_sub(usize::from(cut));
    passes as f64 / time.as_secs_f64().max(1e-9)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The largest resident size of this process so far, where the system tells.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}
