use burn::tensor::{Int, Tensor};

use crate::Error;

/// Keys and values of the positions that a decoder has already seen, for every layer.
///
/// Memory is set aside for 1024 positions at a time, up to `capacity`, and written in place.
///
/// ```
/// use vlm_core::nn::KvCache;
/// let cache = KvCache::new(32);
/// assert!(cache.reserve(32).is_ok());
/// assert!(cache.reserve(33).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    capacity: usize,
}

/// Positions that are set aside at a time.
const STEP: usize = 1024;

/// One layer's share of a [`KvCache`].
#[derive(Clone, Debug)]
pub struct LayerCache {
    // `[batch, heads, set aside, head_dim]`; absent until the first append, and while one is under way.
    memory: Option<(Tensor<4>, Tensor<4>)>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for at most `capacity` positions in each row.
    pub fn new(capacity: usize) -> Self {
        Self {
            layers: Vec::new(),
            capacity,
        }
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Positions held, hidden ones (padding) included.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.len)
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that `additional` more positions fit.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] with the needed and the allowed length.
    pub fn reserve(&self, additional: usize) -> Result<(), Error> {
        let needed = self.len().saturating_add(additional);
        if needed > self.capacity {
            return Err(Error::TooLong {
                needed,
                allowed: self.capacity,
                hint: "create the cache with a larger capacity or shorten the sequence",
            });
        }
        Ok(())
    }

    /// The cache of layer `index`.
    pub fn layer(&mut self, index: usize) -> &mut LayerCache {
        while self.layers.len() <= index {
            self.layers.push(LayerCache {
                memory: None,
                len: 0,
                capacity: self.capacity,
            });
        }
        &mut self.layers[index]
    }

    /// Keeps the given rows of the batch, in the given order (beams, rows that finished). Copies.
    pub fn select(&mut self, rows: Tensor<1, Int>) {
        for layer in &mut self.layers {
            if let Some((keys, values)) = layer.memory.take() {
                layer.memory = Some((keys.select(0, rows.clone()), values.select(0, rows.clone())));
            }
        }
    }

    /// Forgets all but the first `len` positions; the memory is kept.
    pub fn truncate(&mut self, len: usize) {
        for layer in &mut self.layers {
            layer.len = layer.len.min(len);
        }
    }
}

impl LayerCache {
    /// Adds positions and returns all that are held from `first` on.
    ///
    /// # Shapes
    /// - keys, values: `[batch, heads, new, head_dim]`
    /// - output: twice `[batch, heads, held - first, head_dim]`, views of the cache
    ///
    /// # Panics
    ///
    /// When the positions do not fit ([`KvCache::reserve`] tells beforehand), or the other dimensions are
    /// not those of the first append.
    pub fn append(
        &mut self,
        keys: Tensor<4>,
        values: Tensor<4>,
        first: usize,
    ) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, new, head_dim] = keys.dims();
        let end = self.len + new;
        assert!(
            end <= self.capacity,
            "{end} positions do not fit a cache for {}",
            self.capacity
        );
        // Taken out, so that the write finds a single owner and happens in place.
        let memory = self.memory.take();
        let aside = memory.as_ref().map_or(0, |(keys, _)| keys.dims()[2]);
        let more = match end > aside {
            true => end.next_multiple_of(STEP).min(self.capacity) - aside,
            false => 0,
        };
        let options = (&keys.device(), keys.dtype());
        let fresh = || Tensor::zeros([batch, heads, more, head_dim], options);
        let (held_keys, held_values) = match memory {
            None => (fresh(), fresh()),
            Some(memory) if more == 0 => memory,
            Some((keys, values)) => (
                Tensor::cat(vec![keys, fresh()], 2),
                Tensor::cat(vec![values, fresh()], 2),
            ),
        };
        let slot = [0..batch, 0..heads, self.len..end, 0..head_dim];
        let held_keys = held_keys.slice_assign(slot.clone(), keys);
        let held_values = held_values.slice_assign(slot, values);
        let seen = [0..batch, 0..heads, first..end, 0..head_dim];
        let views = (
            held_keys.clone().slice(seen.clone()),
            held_values.clone().slice(seen),
        );
        self.memory = Some((held_keys, held_values));
        self.len = end;
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn rows(values: [f32; 4]) -> Tensor<4> {
        Tensor::<1>::from_floats(values, &Device::default()).reshape([2, 1, 2, 1])
    }

    fn held(cache: &mut KvCache, values: [f32; 4]) -> TensorData {
        let (keys, _) = cache.layer(0).append(rows(values), rows(values), 0);
        keys.into_data()
    }

    #[test]
    fn truncate_and_select() {
        let mut cache = KvCache::new(4);
        held(&mut cache, [1.0, 2.0, 3.0, 4.0]);
        cache.truncate(1);
        cache.select(Tensor::from_ints([1, 0], &Device::default()));
        let data = held(&mut cache, [5.0, 6.0, 7.0, 8.0]);
        let values: Vec<f32> = data.try_to_vec().unwrap();
        assert_eq!(values, [3.0, 5.0, 6.0, 1.0, 7.0, 8.0]);
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn overflow_is_told_before_it_happens() {
        let mut cache = KvCache::new(3);
        held(&mut cache, [0.0; 4]);
        let error = cache.reserve(2).unwrap_err().to_string();
        assert!(
            error.starts_with("4 positions are needed, 3 are allowed"),
            "{error}"
        );
    }

    #[test]
    #[should_panic(expected = "4 positions do not fit a cache for 3")]
    fn overflow_panics() {
        let mut cache = KvCache::new(3);
        held(&mut cache, [0.0; 4]);
        held(&mut cache, [0.0; 4]);
    }
}
