/// How a tensor lies in a checkpoint, compared with our parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same.
    Same,
    /// The same: a table of embeddings that is the head, too, so that all of it is read at every token.
    Table,
    /// `[out, in]` there, `[in, out]` here.
    Transposed,
    /// A convolution over square patches, `[out, channels, size, size]` there,
    /// `[channels · size · size, out]` here.
    Patches {
        /// Height and width of a patch.
        size: usize,
    },
    /// `[size]` there, `[1, size]` here.
    Row,
    /// One of several projections that lie in one, their outputs taking turns: rows `[groups, of, size]` of a
    /// weight `[groups · of · size, in]` there, `[in, groups · size]` here; a bias likewise.
    Turns {
        /// Which of them, from 0.
        index: usize,
        /// How many there are.
        of: usize,
        /// Outputs of one turn.
        size: usize,
    },
}

/// Which key of a checkpoint belongs to which parameter.
///
/// Keys and parameter paths are written in full; `{}` stands for one number and is carried over. Tables nest
/// as models do: a part knows its own keys, a family adds the prefixes.
///
/// ```
/// use vlm_core::checkpoint::KeyMap;
/// let layer = KeyMap::new().linear("self_attn.out_proj", "attention.o_proj");
/// let model = KeyMap::new()
///     .nest("encoder.layers.{}", "layers.{}", layer)
///     .rename("vision_model.", ""); // an older generation of the same files
/// let (key, _) = model.key_of("layers.3.attention.o_proj.bias").unwrap();
/// assert_eq!(key, "encoder.layers.3.self_attn.out_proj.bias");
/// assert_eq!(model.canonical("vision_model.encoder.x"), "encoder.x");
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyMap {
    rules: Vec<Rule>,
    renames: Vec<(String, String)>,
    ignored: Vec<String>,
    stand_ins: Vec<(String, String)>,
    // What a model calls its modules in memory, and what its files call them.
    modules: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Rule {
    theirs: String,
    ours: String,
    layout: Layout,
}

impl KeyMap {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// One tensor.
    #[must_use]
    pub fn tensor(mut self, theirs: &str, ours: &str, layout: Layout) -> Self {
        self.rules.push(Rule {
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
            layout,
        });
        self
    }

    /// A projection: `weight`, transposed, and `bias`.
    #[must_use]
    pub fn linear(self, theirs: &str, ours: &str) -> Self {
        self.tensor(
            &join(theirs, "weight"),
            &join(ours, "weight"),
            Layout::Transposed,
        )
        .tensor(&join(theirs, "bias"), &join(ours, "bias"), Layout::Same)
    }

    /// Several projections that are one in the file, `size` outputs of each in turn
    /// ([`Layout::Turns`]): `weight` and `bias`.
    ///
    /// ```
    /// use vlm_core::checkpoint::{KeyMap, Layout};
    /// // Rows of the file: 64 of head 0's query, 64 of its key, 64 of its value, then head 1's.
    /// let map = KeyMap::new().turns("query_key_value", &["q_proj", "k_proj", "v_proj"], 64);
    /// let (key, layout) = map.key_of("k_proj.weight").unwrap();
    /// assert_eq!(key, "query_key_value.weight");
    /// assert_eq!(layout, Layout::Turns { index: 1, of: 3, size: 64 });
    /// ```
    #[must_use]
    pub fn turns(self, theirs: &str, ours: &[&str], size: usize) -> Self {
        let of = ours.len();
        ours.iter().enumerate().fold(self, |map, (index, ours)| {
            let layout = Layout::Turns { index, of, size };
            map.tensor(&join(theirs, "weight"), &join(ours, "weight"), layout)
                .tensor(&join(theirs, "bias"), &join(ours, "bias"), layout)
        })
    }

    /// A norm or an embedding: `weight` and `bias` as they are.
    #[must_use]
    pub fn same(self, theirs: &str, ours: &str) -> Self {
        self.tensor(&join(theirs, "weight"), &join(ours, "weight"), Layout::Same)
            .tensor(&join(theirs, "bias"), &join(ours, "bias"), Layout::Same)
    }

    /// A table of embeddings: `weight` as it is. Where it is `tied`, it is the head, too.
    #[must_use]
    pub fn table(self, theirs: &str, ours: &str, tied: bool) -> Self {
        let layout = if tied { Layout::Table } else { Layout::Same };
        self.tensor(&join(theirs, "weight"), &join(ours, "weight"), layout)
    }

    /// A convolution whose stride is its kernel, as a projection of patches: `weight` and `bias`.
    #[must_use]
    pub fn patches(self, theirs: &str, ours: &str, size: usize) -> Self {
        let layout = Layout::Patches { size };
        self.tensor(&join(theirs, "weight"), &join(ours, "weight"), layout)
            .tensor(&join(theirs, "bias"), &join(ours, "bias"), Layout::Same)
    }

    /// Another table under a prefix on either side.
    #[must_use]
    pub fn nest(mut self, theirs: &str, ours: &str, inner: Self) -> Self {
        self.rules.extend(inner.rules.into_iter().map(|rule| Rule {
            theirs: join(theirs, &rule.theirs),
            ours: join(ours, &rule.ours),
            layout: rule.layout,
        }));
        self.ignored
            .extend(inner.ignored.iter().map(|key| join(theirs, key)));
        let stand_ins = inner.stand_ins.iter();
        self.stand_ins
            .extend(stand_ins.map(|(key, other)| (join(theirs, key), join(theirs, other))));
        // A rename ends with its dot, and an empty one stands for the prefix itself.
        let prefixed = |prefix: &str| match theirs.is_empty() {
            true => prefix.to_owned(),
            false => format!("{theirs}.{prefix}"),
        };
        let both = |(old, new): &(String, String)| (prefixed(old), prefixed(new));
        self.renames.extend(inner.renames.iter().map(both));
        self.modules.extend(inner.modules.iter().map(both));
        self
    }

    /// Reads keys that begin with `old` as if they began with `new`. Renames apply in order.
    #[must_use]
    pub fn rename(mut self, old: &str, new: &str) -> Self {
        self.renames.push((old.to_owned(), new.to_owned()));
        self
    }

    /// As [`rename`](Self::rename), where `old` is what the reference calls its modules in memory: adapters are
    /// stored under these names.
    #[must_use]
    pub fn modules(mut self, old: &str, new: &str) -> Self {
        self.modules.push((old.to_owned(), new.to_owned()));
        self.rename(old, new)
    }

    /// A key that checkpoints may have and the model does not need.
    #[must_use]
    pub fn ignore(mut self, theirs: &str) -> Self {
        self.ignored.push(theirs.to_owned());
        self
    }

    /// Reads `other` where a checkpoint lacks `theirs`.
    #[must_use]
    pub fn stand_in(mut self, theirs: &str, other: &str) -> Self {
        self.stand_ins.push((theirs.to_owned(), other.to_owned()));
        self
    }

    /// Keys that another may stand in for, and the other.
    pub(super) fn stand_ins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.stand_ins
            .iter()
            .map(|(key, other)| (key.as_str(), other.as_str()))
    }

    /// A checkpoint's key after all renames.
    pub fn canonical(&self, key: &str) -> String {
        self.renames.iter().fold(key.to_owned(), |key, (old, new)| {
            match key.strip_prefix(old) {
                Some(rest) => format!("{new}{rest}"),
                None => key,
            }
        })
    }

    /// What the reference calls a key's parameter in memory.
    ///
    /// ```
    /// use vlm_core::checkpoint::KeyMap;
    /// let keys = KeyMap::new().modules("model.tower.", "tower.");
    /// assert_eq!(keys.canonical("model.tower.fc.weight"), "tower.fc.weight");
    /// assert_eq!(keys.in_memory("tower.fc.weight"), "model.tower.fc.weight");
    /// ```
    pub fn in_memory(&self, key: &str) -> String {
        let renamed = self.modules.iter().find_map(|(memory, file)| {
            let rest = key.strip_prefix(file.as_str())?;
            Some(format!("{memory}{rest}"))
        });
        renamed.unwrap_or_else(|| key.to_owned())
    }

    /// The key and the layout of a parameter.
    pub fn key_of(&self, path: &str) -> Option<(String, Layout)> {
        self.rules.iter().find_map(|rule| {
            let numbers = holes(&rule.ours, path)?;
            Some((fill(&rule.theirs, &numbers), rule.layout))
        })
    }

    /// Whether a key is known to be of no use.
    pub fn ignores(&self, key: &str) -> bool {
        self.ignored
            .iter()
            .any(|pattern| holes(pattern, key).is_some())
    }
}

fn join(prefix: &str, rest: &str) -> String {
    match prefix.is_empty() || rest.is_empty() {
        true => format!("{prefix}{rest}"),
        false => format!("{prefix}.{rest}"),
    }
}

/// The numbers in the holes of `pattern`, if `text` fits it.
fn holes<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut numbers = Vec::new();
    let mut parts = text.split('.');
    for expected in pattern.split('.') {
        let part = parts.next()?;
        match expected {
            "{}" if part.bytes().all(|byte| byte.is_ascii_digit()) => numbers.push(part),
            _ if expected == part => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(numbers)
}

fn fill(pattern: &str, numbers: &[&str]) -> String {
    let mut numbers = numbers.iter();
    let parts = pattern.split('.').map(|part| match part {
        "{}" => numbers.next().copied().unwrap_or(part),
        _ => part,
    });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_and_holes_take_numbers_only() {
        let map = KeyMap::new()
            .same("a.{}.norm", "b.{}.norm")
            .ignore("c.{}.d");
        assert!(map.key_of("b.12.norm.weight").is_some());
        assert!(map.key_of("b.x.norm.weight").is_none());
        assert!(map.key_of("x.b.1.norm.weight").is_none());
        assert!(map.key_of("b.1.norm.weight.x").is_none());
        assert!(map.ignores("c.0.d") && !map.ignores("c.0.d.e"));
    }

    #[test]
    fn nested_renames_keep_their_prefix() {
        let inner = KeyMap::new().rename("old.", "");
        let map = KeyMap::new().nest("tower", "encoder", inner);
        assert_eq!(map.canonical("tower.old.x"), "tower.x");
        assert_eq!(map.canonical("old.x"), "old.x");
    }
}
