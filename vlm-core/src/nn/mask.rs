use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Who may look at whom, for every row of a batch, on the host.
///
/// Each position has a *segment* (0 is padding; positions of different segments never see one another) and
/// a *block*: a position sees the blocks up to its own. Causal text counts blocks upwards, a prefix that sees
/// itself whole shares one block:
///
/// | row | segments | blocks |
/// |---|---|---|
/// | causal | `1 1 1 1` | `0 1 2 3` |
/// | padded on the left | `0 0 1 1` | `0 1 2 3` |
/// | prefix of two, then causal | `1 1 1 1` | `0 0 1 2` |
/// | two packed documents | `1 1 2 2` | `0 1 2 3` |
///
/// The idea of blocks is `make_attn_mask` of big_vision's PaliGemma.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionMask {
    // Absent: plain causal rows of any length.
    rows: Option<Vec<Row>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    segments: Vec<u32>,
    blocks: Vec<u32>,
}

/// A mask on a device for one forward pass: which keys each query must not see.
#[derive(Clone, Debug)]
pub struct DeviceMask {
    /// `[batch or 1, 1, queries, keys]`, `true` is hidden.
    pub hidden: Option<Tensor<4, Bool>>,
    /// Whether later keys are hidden, the last query being aligned with the last key.
    pub causal: bool,
    /// Keys before this one are out of every query's window and left out.
    pub first_key: usize,
}

impl AttentionMask {
    /// Plain causal attention for rows without padding, of any length.
    pub fn causal() -> Self {
        Self { rows: None }
    }

    /// Causal rows of `seq` positions whose first `padding[row]` are padding.
    pub fn left_padded(seq: usize, padding: &[usize]) -> Self {
        if padding.iter().all(|padding| *padding == 0) {
            return Self::causal();
        }
        let segments = |padding: &usize| (0..seq).map(|i| u32::from(i >= *padding)).collect();
        let rows = padding.iter().map(|padding| Row {
            segments: segments(padding),
            blocks: (0..seq as u32).collect(),
        });
        Self {
            rows: Some(rows.collect()),
        }
    }

    /// Rows given by their segments and blocks, `[batch][seq]` each.
    ///
    /// # Panics
    ///
    /// When the two differ in shape, or rows in length.
    pub fn from_rows(segments: Vec<Vec<u32>>, blocks: Vec<Vec<u32>>) -> Self {
        assert_eq!(
            segments.len(),
            blocks.len(),
            "a row has segments and blocks"
        );
        let seq = segments.first().map_or(0, Vec::len);
        let rows: Vec<Row> = segments
            .into_iter()
            .zip(blocks)
            .map(|(segments, blocks)| Row { segments, blocks })
            .collect();
        assert!(
            rows.iter()
                .all(|row| row.segments.len() == seq && row.blocks.len() == seq),
            "rows of a mask have one length"
        );
        Self { rows: Some(rows) }
    }

    /// Adds one generated position to every row: it sees what the row's last position sees, and itself.
    pub fn push(&mut self) {
        for row in self.rows.iter_mut().flatten() {
            row.segments.push(row.segments.last().copied().unwrap_or(1));
            row.blocks
                .push(row.blocks.last().map_or(0, |block| block + 1));
        }
    }

    /// Keeps the given rows, in the given order.
    pub fn select(&mut self, rows: &[usize]) {
        if let Some(all) = &self.rows {
            self.rows = Some(rows.iter().map(|row| all[*row].clone()).collect());
        }
    }

    /// The mask for the last `queries` of `past + queries` positions.
    ///
    /// `window` is a layer's sliding window: position `i` sees `i - window + 1` up to `i`.
    pub fn on_device(
        &self,
        past: usize,
        queries: usize,
        window: Option<usize>,
        device: &Device,
    ) -> DeviceMask {
        let keys = past + queries;
        let first_key = window.map_or(0, |window| (past + 1).saturating_sub(window));
        let windowed = window.is_some_and(|window| queries > 1 && keys > window);
        if self.rows.is_none() && !windowed {
            return DeviceMask {
                hidden: None,
                causal: queries > 1,
                first_key,
            };
        }
        let batch = self.rows.as_ref().map_or(1, Vec::len);
        let mut hidden = Vec::with_capacity(batch * queries * (keys - first_key));
        for index in 0..batch {
            let row = self.rows.as_ref().map(|rows| &rows[index]);
            for i in past..keys {
                let near = |j: usize| window.is_none_or(|window| j + window > i);
                hidden.extend((first_key..keys).map(|j| match row {
                    None => j > i || !near(j),
                    Some(row) => {
                        row.segments[j] == 0
                            || row.segments[j] != row.segments[i]
                            || row.blocks[j] > row.blocks[i]
                            || !near(j)
                    }
                }));
            }
        }
        let shape = [batch, 1, queries, keys - first_key];
        DeviceMask {
            hidden: Some(Tensor::from_data(TensorData::new(hidden, shape), device)),
            causal: false,
            first_key,
        }
    }
}

impl DeviceMask {
    /// Hides nothing: attention over all keys in both directions.
    pub fn none() -> Self {
        Self {
            hidden: None,
            causal: false,
            first_key: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row drawn as text: `x` sees, `.` does not.
    fn drawn(
        mask: &AttentionMask,
        past: usize,
        queries: usize,
        window: Option<usize>,
    ) -> Vec<String> {
        let mask = mask.on_device(past, queries, window, &Device::default());
        let hidden = mask.hidden.expect("a mask that hides something");
        let keys = hidden.dims()[3];
        let values: Vec<bool> = hidden.into_data().iter::<bool>().collect();
        let line = |row: &[bool]| row.iter().map(|h| if *h { '.' } else { 'x' }).collect();
        values.chunks(keys).map(line).collect()
    }

    #[test]
    fn padding_is_never_seen() {
        let mask = AttentionMask::left_padded(3, &[1]);
        assert_eq!(drawn(&mask, 0, 3, None), ["...", ".x.", ".xx"]);
        assert_eq!(drawn(&mask, 2, 1, None), [".xx"]);
    }

    #[test]
    fn a_window_reaches_back_so_far() {
        let mask = AttentionMask::causal();
        assert_eq!(
            drawn(&mask, 0, 4, Some(2)),
            ["x...", "xx..", ".xx.", "..xx"]
        );
        // Later, keys out of every window are left out.
        let step = mask.on_device(5, 1, Some(2), &Device::default());
        assert_eq!(step.first_key, 4);
        assert!(step.hidden.is_none());
    }

    #[test]
    fn a_prefix_sees_itself_and_documents_do_not_mix() {
        let prefix = AttentionMask::from_rows(vec![vec![1; 3]], vec![vec![0, 0, 1]]);
        assert_eq!(drawn(&prefix, 0, 3, None), ["xx.", "xx.", "xxx"]);
        let packed = AttentionMask::from_rows(vec![vec![1, 2, 2]], vec![vec![0, 1, 2]]);
        assert_eq!(drawn(&packed, 0, 3, None), ["x..", ".x.", ".xx"]);
    }

    #[test]
    fn pushed_positions_see_their_row() {
        let mut mask = AttentionMask::left_padded(2, &[1, 0]);
        mask.push();
        assert_eq!(drawn(&mask, 2, 1, None), [".xx", "xxx"]);
        mask.select(&[1]);
        assert_eq!(drawn(&mask, 2, 1, None), ["xxx"]);
    }
}
