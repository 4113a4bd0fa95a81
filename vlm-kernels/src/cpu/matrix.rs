//! Matrices as the kernels see them.

use std::{marker::PhantomData, ops::Range};

use half::bf16;

use super::{dot::Weight, element::Element};

/// A weight of a linear layer, a row of numbers for each output, in whatever form it lies.
pub trait Rows: Copy + Sync {
    /// Whether it is multiplied as pairs of brain floats where the processor can.
    const PAIRS: bool;
    /// Whether rows are floats as they lie.
    const FLOATS: bool = false;
    /// Whether rows are brain floats as they lie.
    const BRAIN_FLOATS: bool = false;

    /// Number of rows.
    fn outputs(&self) -> usize;
    /// Numbers of a row.
    fn inputs(&self) -> usize;
    /// Bytes of a row.
    fn row_bytes(&self) -> usize;
    /// Writes part of a row.
    fn read<T: Element>(&self, output: usize, columns: Range<usize>, to: &mut [T]);

    /// Part of `N` rows as floats, where they are.
    fn floats<const N: usize>(&self, _first: usize, _columns: Range<usize>) -> Option<[&[f32]; N]> {
        None
    }

    /// Part of `N` rows as brain floats, where they are.
    fn brain_floats<const N: usize>(
        &self,
        _first: usize,
        _columns: Range<usize>,
    ) -> Option<[&[bf16]; N]> {
        None
    }
}

/// A weight of a linear layer as it lies in a checkpoint: a row of `inputs` numbers for each output.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, W> {
    data: &'a [W],
    /// Rows.
    pub outputs: usize,
    /// Columns.
    pub inputs: usize,
    stride: usize,
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
        }
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
        // In a loop: an array's closure would be a call.
        let mut rows = [self.row(first); N];
        for (index, row) in rows.iter_mut().enumerate().skip(1) {
            *row = self.row((first + index).min(self.outputs - 1));
        }
        rows
    }
}

impl<W: Weight> Rows for Weights<'_, W> {
    const PAIRS: bool = W::BRAIN_FLOATS;
    const FLOATS: bool = W::FLOATS;
    const BRAIN_FLOATS: bool = W::BRAIN_FLOATS;

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn row_bytes(&self) -> usize {
        self.inputs * size_of::<W>()
    }

    #[inline(always)]
    fn read<T: Element>(&self, output: usize, columns: Range<usize>, to: &mut [T]) {
        for (weight, to) in self.row(output)[columns].iter().zip(to) {
            *to = T::from_f32(weight.to_f32());
        }
    }

    #[inline(always)]
    fn floats<const N: usize>(&self, first: usize, columns: Range<usize>) -> Option<[&[f32]; N]> {
        W::floats(self.rows(first).map(|row| &row[columns.clone()]))
    }

    #[inline(always)]
    fn brain_floats<const N: usize>(
        &self,
        first: usize,
        columns: Range<usize>,
    ) -> Option<[&[bf16]; N]> {
        W::brain_floats(self.rows(first).map(|row| &row[columns.clone()]))
    }
}

/// One of the weights that the same numbers are multiplied with, and where the products go.
pub struct Product<'a, R, E> {
    /// The weight.
    pub weights: R,
    /// Added to each row of products.
    pub bias: Option<&'a [f32]>,
    /// `[rows, outputs]`.
    pub out: &'a mut [E],
}

/// A matrix that threads fill together, each its own part.
#[derive(Clone, Copy, Debug)]
pub struct Filled<'a, E> {
    data: *mut E,
    len: usize,
    columns: usize,
    lifetime: PhantomData<&'a mut [E]>,
}

// SAFETY: `part` is unsafe where two threads could write one number.
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
