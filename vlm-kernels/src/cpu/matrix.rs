//! Matrices as the kernels see them.

use std::{marker::PhantomData, ops::Range};

use super::element::Element;

/// A weight of a linear layer as it lies in a checkpoint: a row of `inputs` numbers for each output.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, W> {
    data: &'a [W],
    /// Rows.
    pub outputs: usize,
    /// Columns.
    pub inputs: usize,
    stride: usize,
    // A factor for so many numbers of a row, `[groups][outputs]`; none for plain floats.
    scales: Option<(&'a [f32], usize)>,
}

impl<'a, W> Weights<'a, W> {
    /// Rows of `inputs` numbers that begin `stride` apart.
    ///
    /// # Panics
    ///
    /// When `data` ends before the last row does.
    pub fn new(data: &'a [W], outputs: usize, inputs: usize, stride: usize) -> Self {
        let end = match outputs {
            0 => 0,
            _ => (outputs - 1) * stride + inputs,
        };
        assert!(
            end <= data.len(),
            "rows that end at {end} of {}",
            data.len()
        );
        Self {
            data,
            outputs,
            inputs,
            stride,
            scales: None,
        }
    }

    /// Each `group` numbers of a row are multiples of a factor, `[groups][outputs]`.
    ///
    /// # Panics
    ///
    /// When the factors are not as many as the groups.
    pub fn with_scales(mut self, scales: &'a [f32], group: usize) -> Self {
        let groups = self.inputs.div_ceil(group);
        assert_eq!(
            scales.len(),
            groups * self.outputs,
            "a factor for each group"
        );
        self.scales = Some((scales, group));
        self
    }

    /// The factors, and how many numbers of a row have one.
    #[inline(always)]
    pub fn scales(&self) -> Option<(&'a [f32], usize)> {
        self.scales
    }

    /// A row.
    #[inline(always)]
    pub fn row(&self, output: usize) -> &'a [W] {
        let begin = output * self.stride;
        &self.data[begin..begin + self.inputs]
    }

    /// Where `N` rows from `first` on begin; the last row stands in for those after it.
    #[inline(always)]
    pub fn rows<const N: usize>(&self, first: usize) -> [&'a [W]; N] {
        std::array::from_fn(|index| self.row((first + index).min(self.outputs - 1)))
    }
}

impl<W: Element> Weights<'_, W> {
    /// Writes part of a row, its factors applied.
    #[inline(always)]
    pub fn read<T: Element>(&self, output: usize, columns: Range<usize>, to: &mut [T]) {
        let row = &self.row(output)[columns.clone()];
        let Some((scales, group)) = self.scales else {
            for (weight, to) in row.iter().zip(to) {
                *to = T::from_f32(weight.to_f32());
            }
            return;
        };
        let mut at = 0;
        while at < row.len() {
            let index = (columns.start + at) / group;
            let end = ((index + 1) * group - columns.start).min(row.len());
            let scale = scales[index * self.outputs + output];
            for (weight, to) in row[at..end].iter().zip(&mut to[at..end]) {
                *to = T::from_f32(weight.to_f32() * scale);
            }
            at = end;
        }
    }
}

/// A matrix that threads fill together, each its own part.
#[derive(Clone, Copy, Debug)]
pub struct Filled<'a, E> {
    data: *mut E,
    len: usize,
    columns: usize,
    lifetime: PhantomData<&'a mut [E]>,
}

// SAFETY: `put` is unsafe where two threads could write one number.
unsafe impl<E: Send> Sync for Filled<'_, E> {}
// SAFETY: as a mutable slice.
unsafe impl<E: Send> Send for Filled<'_, E> {}

impl<'a, E: Copy> Filled<'a, E> {
    /// `data` as rows of `columns` numbers.
    pub fn new(data: &'a mut [E], columns: usize) -> Self {
        Self {
            data: data.as_mut_ptr(),
            len: data.len(),
            columns,
            lifetime: PhantomData,
        }
    }

    /// Writes one number.
    ///
    /// # Safety
    ///
    /// No other thread writes the same number meanwhile.
    #[inline(always)]
    pub unsafe fn put(&self, row: usize, column: usize, value: E) {
        let index = row * self.columns + column;
        assert!(index < self.len, "number {index} of {}", self.len);
        // SAFETY: within the slice, and this thread's by the caller's word.
        unsafe { *self.data.add(index) = value }
    }

    /// Part of a row.
    ///
    /// # Safety
    ///
    /// No other thread uses the same part meanwhile.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, row: usize, column: usize, len: usize) -> &mut [E] {
        let begin = row * self.columns + column;
        assert!(
            begin + len <= self.len,
            "{begin} to {} of {}",
            begin + len,
            self.len
        );
        // SAFETY: within the slice, and this thread's by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(begin), len) }
    }
}
