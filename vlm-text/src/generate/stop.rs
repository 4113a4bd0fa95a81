/// Lets text through up to the first stop string, and holds back what may become one.
///
/// The first stop string to be whole counts, so the result does not depend on how the text was cut up.
///
/// ```
/// use vlm_text::StopFilter;
/// let mut filter = StopFilter::new(["\nUSER:"]);
/// assert_eq!(filter.push("A cat.\nUS"), "A cat.");
/// assert_eq!(filter.push("A\nUSE"), "\nUSA"); // it was none; another may begin
/// assert_eq!(filter.push("R: next"), "");
/// assert!(filter.has_stopped());
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    /// A filter for these strings; empty ones stop nothing.
    pub fn new(stops: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let stops = stops.into_iter().map(Into::into);
        Self {
            stops: stops.filter(|stop: &String| !stop.is_empty()).collect(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Adds text and returns what is certain not to belong to a stop string.
    pub fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(text);
        let first_whole = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop).map(|at| (at + stop.len(), at)))
            .min();
        if let Some((_, at)) = first_whole {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let certain = self.held.len() - self.begun();
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop string has appeared; nothing comes out after it.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Ends the text and returns what was held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of the held text that may begin a stop string, at most.
    fn begun(&self) -> usize {
        let begun = |stop: &String| {
            let lengths = (1..stop.len()).filter(|len| stop.is_char_boundary(*len));
            let at_end = |len: &usize| self.held.ends_with(&stop[..*len]);
            lengths.filter(at_end).max().unwrap_or(0)
        };
        self.stops.iter().map(begun).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    fn word(random: &mut StdRng, longest: usize) -> String {
        let letters = ['a', 'b', 'é', '🙂'];
        let length = random.random_range(1..=longest);
        (0..length)
            .map(|_| letters[random.random_range(0..4)])
            .collect()
    }

    #[test]
    fn the_way_a_text_is_cut_up_does_not_matter() {
        let mut random = StdRng::seed_from_u64(3);
        let mut stopped = 0;
        for _ in 0..3000 {
            let text = word(&mut random, 30);
            let count = random.random_range(0..4);
            let stops: Vec<String> = (0..count).map(|_| word(&mut random, 4)).collect();
            let mut whole = StopFilter::new(stops.clone());
            let expected = whole.push(&text) + &whole.finish();
            let mut pieces = StopFilter::new(stops.clone());
            let mut out = String::new();
            let mut given = String::new();
            for letter in text.chars() {
                given.push(letter);
                out += &pieces.push(&letter.to_string());
                assert!(expected.starts_with(&out), "{text} {stops:?}: {out}");
                if !pieces.has_stopped() {
                    // Only the beginning of a stop string is held back.
                    let held = &given[out.len()..];
                    let begins = |stop: &String| stop.len() > held.len() && stop.starts_with(held);
                    assert!(held.is_empty() || stops.iter().any(begins), "{held}");
                }
            }
            out += &pieces.finish();
            assert_eq!(out, expected, "{text} {stops:?}");
            assert_eq!(pieces.has_stopped(), whole.has_stopped());
            assert!(stops.iter().all(|stop| !out.contains(stop)), "{out}");
            stopped += usize::from(whole.has_stopped());
        }
        assert!((500..2900).contains(&stopped), "{stopped}");
    }
}
