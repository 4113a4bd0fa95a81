/// Where every token of a batch stands, `[axes, batch, seq]`, on the host.
///
/// One axis for text and rotary embeddings; three (time, height, width) for M-RoPE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    values: Vec<u32>,
    axes: usize,
    batch: usize,
}

impl Positions {
    /// One axis, a row for each sequence of the batch.
    ///
    /// ```
    /// use vlm_core::Positions;
    /// // The first row is padded on the left: padding stands where its row begins.
    /// let positions = Positions::rows(&[vec![0, 0, 1], vec![0, 1, 2]]);
    /// assert_eq!(positions.longest(), 2);
    /// ```
    ///
    /// # Panics
    ///
    /// When the rows differ in length or there is none.
    pub fn rows(rows: &[Vec<u32>]) -> Self {
        assert!(!rows.is_empty(), "positions need a row");
        assert!(
            rows.iter().all(|row| row.len() == rows[0].len()),
            "positions need rows of one length"
        );
        Self {
            values: rows.concat(),
            axes: 1,
            batch: rows.len(),
        }
    }

    /// Several axes.
    ///
    /// # Panics
    ///
    /// When the axes differ in shape or there is none.
    pub fn from_axes(axes: &[Self]) -> Self {
        assert!(!axes.is_empty(), "positions need an axis");
        assert!(
            axes.iter().all(|axis| axis.axes == 1
                && axis.batch == axes[0].batch
                && axis.seq() == axes[0].seq()),
            "positions need axes of one shape"
        );
        Self {
            values: axes.iter().flat_map(|axis| axis.values.clone()).collect(),
            axes: axes.len(),
            batch: axes[0].batch,
        }
    }

    /// Number of axes.
    pub fn axes(&self) -> usize {
        self.axes
    }

    /// Number of sequences.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Number of tokens in each sequence.
    pub fn seq(&self) -> usize {
        self.values.len() / (self.axes * self.batch)
    }

    /// The largest position.
    pub fn longest(&self) -> usize {
        self.values.iter().copied().max().unwrap_or(0) as usize
    }

    /// The `[batch, seq]` values of one axis.
    pub fn axis(&self, axis: usize) -> &[u32] {
        let size = self.batch * self.seq();
        &self.values[axis * size..(axis + 1) * size]
    }

    /// The rows of one axis, or a single one where all agree, with their number.
    pub fn distinct_rows(&self, axis: usize) -> (usize, &[u32]) {
        let (values, seq) = (self.axis(axis), self.seq());
        let agree = values.chunks(seq).all(|row| row == &values[..seq]);
        match agree {
            true => (1, &values[..seq]),
            false => (self.batch, values),
        }
    }
}
