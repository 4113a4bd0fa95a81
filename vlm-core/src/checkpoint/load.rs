use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Device, FloatDType, Shape, Tensor, TensorData},
};
use rayon::prelude::*;
use vlm_kernels::{Quantization, RoundedRows};

use super::{
    Checkpoint, KeyMap, Layout, Misshaped, Report,
    reader::{Turns, WINDOW},
};
use crate::Error;

/// Fills a module's parameters from a checkpoint.
///
/// Parameters are not initialised first: each is made from the file, converted once, and placed on the
/// parameter's device.
pub struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    keys: &'a KeyMap,
    dtype: FloatDType,
    wide: Box<dyn Fn(&str) -> bool + 'a>,
    quantization: Option<Quantization>,
    progress: Option<Box<dyn FnMut(usize) + 'a>>,
}

impl<'a> Loader<'a> {
    /// A loader that stores every parameter as `dtype`, whatever the file has.
    pub fn new(checkpoint: &'a Checkpoint, keys: &'a KeyMap, dtype: FloatDType) -> Self {
        Self {
            checkpoint,
            keys,
            dtype,
            wide: Box::new(|_| false),
            quantization: None,
            progress: None,
        }
    }

    /// Stores the parameters whose paths `wide` picks in 32 bits: those that are to learn.
    #[must_use]
    pub fn with_wide(mut self, wide: impl Fn(&str) -> bool + 'a) -> Self {
        self.wide = Box::new(wide);
        self
    }

    /// Rounds the weights of linear layers whose inputs are a multiple of 32, where the device has kernels for
    /// them ([`Quantization::runs_on`]), and to 8 bits a head that is the embedding table
    /// ([`Layout::Table`]); all else stays as it is.
    #[must_use]
    pub fn with_quantization(mut self, quantization: Option<Quantization>) -> Self {
        self.quantization = quantization;
        self
    }

    /// Calls `progress` with the bytes of each tensor that was read.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(usize) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Loads every parameter of `module`.
    ///
    /// # Errors
    ///
    /// A [`Report`] when keys are missing, unknown or of another shape. The keys are compared before any
    /// value is read.
    ///
    /// # Panics
    ///
    /// When the key table lacks a parameter of the module: the table is wrong, not the checkpoint.
    pub fn load<M: Module>(self, module: M) -> Result<M, Error> {
        let mut report = Report {
            path: self.checkpoint.path().to_path_buf(),
            ..Report::default()
        };
        // Canonical key -> key in the file.
        let mut available = BTreeMap::new();
        for key in self.checkpoint.keys() {
            if let Some(other) = available.insert(self.keys.canonical(key), key) {
                report
                    .unusable
                    .push(format!("{key}: the same tensor as {other}"));
            }
        }
        for (key, other) in self.keys.stand_ins() {
            if !available.contains_key(key)
                && let Some(found) = available.remove(other)
            {
                available.insert(key.to_owned(), found);
            }
        }
        let mut check = Check {
            path: Vec::new(),
            keys: self.keys,
            found: |key: &str| Some(self.checkpoint.shape(available.get(key)?)?.to_vec()),
            used: BTreeSet::new(),
            report: &mut report,
        };
        module.visit(&mut check);
        let used = check.used;
        let unused = available
            .iter()
            .filter(|(key, _)| !used.contains(*key) && !self.keys.ignores(key));
        report.unused = unused.map(|(_, key)| (*key).to_owned()).collect();
        if !report.is_clean() {
            return Err(Error::Checkpoint(Box::new(report)));
        }
        let mut fill = Fill {
            path: Vec::new(),
            available,
            error: None,
            loader: self,
        };
        let module = module.map(&mut fill);
        match fill.error {
            Some(error) => Err(error),
            None => Ok(module),
        }
    }
}

/// The shape that a parameter of shape `ours` has in a file.
fn shape_in_file(ours: &Shape, layout: Layout) -> Vec<usize> {
    let ours: Vec<usize> = ours.iter().copied().collect();
    match (layout, ours.as_slice()) {
        (Layout::Transposed, [rows, columns]) => vec![*columns, *rows],
        (Layout::Row, [1, size]) => vec![*size],
        (Layout::Patches { size }, [patch, out]) => vec![*out, patch / (size * size), size, size],
        (Layout::Turns { of, .. }, [rows, columns]) => vec![of * columns, *rows],
        (Layout::Turns { of, .. }, [size]) => vec![of * size],
        _ => ours,
    }
}

/// What belongs to one parameter of the tensor under a key, in the file's order.
pub(super) fn read_as(
    checkpoint: &Checkpoint,
    key: &str,
    layout: Layout,
    dtype: FloatDType,
) -> Result<TensorData, Error> {
    checkpoint.read_rows(key, turns_of(layout), None, dtype)
}

fn turns_of(layout: Layout) -> Option<Turns> {
    match layout {
        Layout::Turns { index, of, size } => Some(Turns { index, of, size }),
        _ => None,
    }
}

/// `[rows, columns] -> [columns, rows]`, laid out anew: products with a transposed view copy it every time.
pub(super) fn transposed(data: &TensorData) -> TensorData {
    let [rows, columns] = [data.shape()[0], data.shape()[1]];
    let from = data.as_bytes();
    let mut to = vec![0; from.len()];
    match from.len() / (rows * columns).max(1) {
        2 => transpose::<2>(from, &mut to, rows, columns),
        4 => transpose::<4>(from, &mut to, rows, columns),
        _ => transpose::<8>(from, &mut to, rows, columns),
    }
    TensorData::from_bytes_vec(to, [columns, rows], data.dtype())
}

/// Moves values of `N` bytes, on all cores.
fn transpose<const N: usize>(from: &[u8], to: &mut [u8], rows: usize, columns: usize) {
    // Squares that fit the cache on both sides.
    const BLOCK: usize = 32;
    let from = from.as_chunks::<N>().0;
    let to = to.as_chunks_mut::<N>().0;
    let bands = to.par_chunks_mut((BLOCK * rows).max(1)).enumerate();
    bands.for_each(|(band, to)| {
        let left = band * BLOCK;
        let right = (left + BLOCK).min(columns);
        for top in (0..rows).step_by(BLOCK) {
            for row in top..(top + BLOCK).min(rows) {
                for column in left..right {
                    to[(column - left) * rows + row] = from[row * columns + column];
                }
            }
        }
    });
}

struct Check<'a, F> {
    path: Vec<String>,
    keys: &'a KeyMap,
    found: F,
    used: BTreeSet<String>,
    report: &'a mut Report,
}

impl<F: Fn(&str) -> Option<Vec<usize>>> burn::module::ModuleVisitor for Check<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let (key, layout) = self
            .keys
            .key_of(&path)
            .unwrap_or_else(|| panic!("the key table has no rule for parameter `{path}`"));
        // Several parameters may lie in one tensor, which is reported once.
        let first = self.used.insert(key.clone());
        match (self.found)(&key) {
            None if first => self.report.missing.push(key),
            None => {}
            Some(found) => {
                let expected = shape_in_file(&param.lazy_shape(), layout);
                let problem = Misshaped {
                    key,
                    expected,
                    found,
                };
                if problem.expected != problem.found && !self.report.misshaped.contains(&problem) {
                    self.report.misshaped.push(problem);
                }
            }
        }
    }
}

struct Fill<'a> {
    path: Vec<String>,
    available: BTreeMap<String, &'a str>,
    loader: Loader<'a>,
    error: Option<Error>,
}

/// Where the values of a parameter lie, and as what they are wanted.
struct Source<'a> {
    key: &'a str,
    layout: Layout,
    dtype: FloatDType,
}

impl<'a> Fill<'a> {
    fn source(&self, path: &str) -> Source<'a> {
        let (key, layout) = self.loader.keys.key_of(path).expect("checked before");
        Source {
            key: self.available[&key],
            layout,
            dtype: match (self.loader.wide)(path) {
                true => FloatDType::F32,
                false => self.loader.dtype,
            },
        }
    }

    /// A parameter from what the file has for it.
    fn read<const D: usize>(
        &self,
        source: &Source,
        shape: &Shape,
        device: &Device,
    ) -> Result<Tensor<D>, Error> {
        if let Some(rows) = self.rounded_rows(source, shape, device) {
            let rows = self.round(rows, source)?;
            let rounded = match source.layout {
                Layout::Table => rows.finish_table(),
                _ => rows.finish(),
            };
            return Ok(Tensor::from_dispatch(rounded.into_dispatch()));
        }
        let checkpoint = self.loader.checkpoint;
        let mut data = read_as(checkpoint, source.key, source.layout, source.dtype)?;
        let dtype = data.dtype();
        let mut turned = false;
        if matches!(source.layout, Layout::Patches { .. }) {
            let (out, count) = (data.shape()[0], data.num_elements());
            data = TensorData::from_bytes(data.into_bytes(), [out, count / out], dtype);
        }
        match source.layout {
            Layout::Same | Layout::Table => {}
            Layout::Row => {
                let size = data.num_elements();
                data = TensorData::from_bytes(data.into_bytes(), [1, size], dtype);
            }
            Layout::Turns { .. } if D == 1 => {}
            Layout::Transposed | Layout::Patches { .. } | Layout::Turns { .. } => {
                turned = vlm_kernels::keeps_file_layout(device);
                if !turned {
                    data = transposed(&data);
                }
            }
        }
        let options = (device, dtype);
        let tensor = device
            .memory_persistent_allocations(data, |data| Tensor::<D>::from_data(data, options));
        Ok(match turned {
            true => tensor.transpose(),
            false => tensor,
        })
    }

    /// Room for the rows of what is to be rounded.
    fn rounded_rows(&self, source: &Source, shape: &Shape, device: &Device) -> Option<RoundedRows> {
        let &[first, second] = shape.as_slice() else {
            return None;
        };
        let quantization = self.loader.quantization?;
        match source.layout {
            Layout::Transposed | Layout::Turns { .. } => {
                quantization.rows([second, first], source.dtype, device)
            }
            // Four bits are too few: its rows are what tells one token from another.
            Layout::Table => Quantization::Int8.rows([first, second], source.dtype, device),
            Layout::Same | Layout::Patches { .. } | Layout::Row => None,
        }
    }

    /// Rounds a window of rows at a time.
    fn round(&self, mut rounded: RoundedRows, source: &Source) -> Result<RoundedRows, Error> {
        let [count, inputs] = rounded.shape();
        let most = (WINDOW / (inputs * DType::from(source.dtype).size())).max(1);
        for first in (0..count).step_by(most) {
            let rows = first..(first + most).min(count);
            let turns = turns_of(source.layout);
            let checkpoint = self.loader.checkpoint;
            rounded.push(&checkpoint.read_rows(source.key, turns, Some(rows), source.dtype)?);
        }
        Ok(rounded)
    }
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let source = self.source(&self.path.join("."));
        match self.read(&source, &param.lazy_shape(), &param.lazy_device()) {
            Ok(tensor) => {
                if let Some(progress) = &mut self.loader.progress {
                    let parts = turns_of(source.layout).map_or(1, |turns| turns.of);
                    progress(self.loader.checkpoint.bytes(source.key) / parts);
                }
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{KeyMap, save},
        nn::{Linear, LinearConfig},
    };
    use safetensors::{Dtype, SafeTensors, tensor::TensorView};

    /// Two projections of two inputs and four outputs.
    #[derive(Module, Debug)]
    struct Pair {
        first: Linear,
        second: Linear,
    }

    fn pair(device: &Device) -> Pair {
        let linear = || LinearConfig::new(2, 4).init(device);
        Pair {
            first: linear(),
            second: linear(),
        }
    }

    #[test]
    fn outputs_that_take_turns_are_parted_and_joined() {
        let device = Device::default();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(crate::checkpoint::WEIGHTS_FILE);
        let bytes = |values: Vec<f32>| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (weight, bias): (Vec<u8>, Vec<u8>) = (
            bytes((0..16).map(|v| v as f32).collect()),
            bytes((0..8).map(|v| v as f32 / 2.0).collect()),
        );
        let views = [
            (
                "both.weight",
                TensorView::new(Dtype::F32, vec![8, 2], &weight).unwrap(),
            ),
            (
                "both.bias",
                TensorView::new(Dtype::F32, vec![8], &bias).unwrap(),
            ),
        ];
        safetensors::serialize_to_file(views, None, &file).unwrap();
        let keys = KeyMap::new().turns("both", &["first", "second"], 2);
        let load = |keys: &KeyMap| {
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            let mut read = 0;
            let loader = Loader::new(&checkpoint, keys, FloatDType::F32);
            let loaded = loader
                .with_progress(|bytes| read += bytes)
                .load(pair(&device));
            (loaded, read)
        };
        let (loaded, read) = load(&keys);
        let loaded = loaded.unwrap();
        // Each byte is read once.
        assert_eq!(read, weight.len() + bias.len());
        let values = |linear: &Linear| -> Vec<f32> {
            linear.weight.val().into_data().try_into_vec().unwrap()
        };
        // Rows 0, 1, 4, 5 and rows 2, 3, 6, 7, each turned over.
        assert_eq!(
            values(&loaded.first),
            [0.0, 2.0, 8.0, 10.0, 1.0, 3.0, 9.0, 11.0]
        );
        assert_eq!(
            values(&loaded.second),
            [4.0, 6.0, 12.0, 14.0, 5.0, 7.0, 13.0, 15.0]
        );
        let bias_of = |linear: &Linear| -> Vec<f32> {
            let bias = linear.bias.as_ref().unwrap().val();
            bias.into_data().try_into_vec().unwrap()
        };
        assert_eq!(bias_of(&loaded.second), [1.0, 1.5, 3.0, 3.5]);

        let again = tempfile::tempdir().unwrap();
        save(&loaded, &keys, again.path(), usize::MAX).unwrap();
        let written = std::fs::read(again.path().join(crate::checkpoint::WEIGHTS_FILE)).unwrap();
        let written = SafeTensors::deserialize(&written).unwrap();
        for (key, shape, wanted) in [
            ("both.weight", vec![8, 2], &weight),
            ("both.bias", vec![8], &bias),
        ] {
            let found = written.tensor(key).unwrap();
            assert_eq!((found.shape(), found.data()), (&shape[..], &wanted[..]));
        }

        let wrong = KeyMap::new().turns("one", &["first", "second"], 2);
        let error = load(&wrong).0.unwrap_err().to_string();
        assert!(
            error.contains("2 keys are missing (one.weight, one.bias)"),
            "{error}"
        );
    }

    #[test]
    fn a_matrix_is_turned_whole_whatever_its_size() {
        for (rows, columns) in [(1, 1), (1, 70), (70, 1), (33, 65), (64, 32), (0, 3)] {
            let values: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
            let turned = transposed(&TensorData::new(values.clone(), [rows, columns]));
            let turned: Vec<f32> = turned.try_into_vec().unwrap();
            let expected = |index: usize| values[index % rows * columns + index / rows];
            let expected: Vec<f32> = (0..rows * columns).map(expected).collect();
            assert_eq!(turned, expected, "{rows} × {columns}");
        }
    }
}
