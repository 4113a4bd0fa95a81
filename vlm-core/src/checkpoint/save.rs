use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{DType, Tensor, TensorData},
};
use safetensors::{Dtype, tensor::View};
use serde_json::json;

use super::{INDEX_FILE, KeyMap, Layout, WEIGHTS_FILE};
use crate::Error;

/// Writes a module's parameters as safetensors under a checkpoint's keys, in shards of at most
/// `max_shard_bytes` where they do not fit one file.
///
/// Tensors leave the device one at a time, and a file appears under its name only once it is whole.
///
/// # Errors
///
/// When a file cannot be written, or weights were rounded at loading: nothing is written then.
///
/// # Panics
///
/// When the key table lacks a parameter of the module, or the module has adapters: merge them first with
/// burn's `materialize`.
pub fn save(
    module: &impl Module,
    keys: &KeyMap,
    folder: impl AsRef<Path>,
    max_shard_bytes: usize,
) -> Result<(), Error> {
    let folder = folder.as_ref();
    check_savable(module, folder)?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut collect = Collect {
        path: Vec::new(),
        keys,
        tensors: BTreeMap::new(),
        turns: BTreeMap::new(),
    };
    module.visit(&mut collect);
    for (key, turns) in collect.turns {
        collect.tensors.insert(key, turns.join());
    }
    let mut shards: Vec<Vec<(String, Saved)>> = vec![Vec::new()];
    let mut total = 0;
    let mut size = 0;
    for (key, tensor) in collect.tensors {
        let bytes = tensor.data_len();
        if size > 0 && size + bytes > max_shard_bytes {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        total += bytes;
        shards.last_mut().expect("never empty").push((key, tensor));
    }
    let count = shards.len();
    if count == 1 {
        let shard = shards.pop().expect("one shard");
        return write(shard, folder.join(WEIGHTS_FILE));
    }
    let mut weight_map = BTreeMap::new();
    for (index, shard) in shards.into_iter().enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", index + 1);
        weight_map.extend(shard.iter().map(|(key, _)| (key.clone(), name.clone())));
        write(shard, folder.join(name))?;
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    let path = folder.join(INDEX_FILE);
    let text = serde_json::to_string_pretty(&index).map_err(Error::json(&path))?;
    std::fs::write(&path, text).map_err(Error::io(&path))
}

/// Whether [`save`] can write a module into `folder`, before anything is written.
///
/// # Errors
///
/// When weights were rounded at loading.
pub fn check_savable(module: &impl Module, folder: &Path) -> Result<(), Error> {
    let mut rounded = Rounded::default();
    module.visit(&mut rounded);
    match rounded.found {
        None => Ok(()),
        Some(path) => {
            let hint = "load the model without quantisation to save it";
            let message = format!("not written: `{path}` was rounded at loading ({hint})");
            Err(Error::file(folder, message))
        }
    }
}

/// Writes tensors of the host as one safetensors file, which appears under its name only once it is whole.
///
/// # Errors
///
/// When the file cannot be written.
///
/// # Panics
///
/// When a tensor is not of floats.
pub fn save_tensors(
    tensors: impl IntoIterator<Item = (String, TensorData)>,
    path: impl AsRef<Path>,
) -> Result<(), Error> {
    let saved = tensors.into_iter().map(|(key, data)| {
        let saved = Saved {
            dtype: dtype_in_file(data.dtype()),
            shape: data.shape().to_vec(),
            data: Box::new(move || data.clone()),
        };
        (key, saved)
    });
    write(saved.collect(), path.as_ref().to_path_buf())
}

fn dtype_in_file(dtype: DType) -> Dtype {
    match dtype {
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        other => panic!("tensors of {other:?} are not stored"),
    }
}

pub(super) fn write(tensors: Vec<(String, Saved)>, path: PathBuf) -> Result<(), Error> {
    let partial = path.with_extension("safetensors.partial");
    let usual = std::fs::File::create(&partial).and_then(|file| file.metadata());
    let usual = usual.map_err(Error::io(&path))?.permissions();
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(tensors, Some(metadata), &partial)
        .map_err(|error| Error::file(&path, error.to_string()))?;
    // The crate's files are its user's alone.
    std::fs::set_permissions(&partial, usual).map_err(Error::io(&path))?;
    std::fs::rename(&partial, &path).map_err(Error::io(&path))
}

/// Finds a parameter that was rounded.
#[derive(Default)]
struct Rounded {
    path: Vec<String>,
    found: Option<String>,
}

impl ModuleVisitor for Rounded {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if matches!(param.base().dtype(), DType::QFloat(_)) {
            self.found.get_or_insert_with(|| self.path.join("."));
        }
    }
}

struct Collect<'a> {
    path: Vec<String>,
    keys: &'a KeyMap,
    tensors: BTreeMap<String, Saved>,
    turns: BTreeMap<String, Turns>,
}

impl ModuleVisitor for Collect<'_> {
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
        let tensor = param.base();
        if let Layout::Turns { index, of, size } = layout {
            let turns = self.turns.entry(key);
            let turns = turns.or_insert_with(|| Turns::new(of, &tensor));
            turns.set(index, size, tensor);
            return;
        }
        self.tensors.insert(key, saved(tensor, layout));
    }
}

/// A tensor as it lies in a file.
pub(super) fn saved<const D: usize>(mut tensor: Tensor<D>, layout: Layout) -> Saved {
    if matches!(layout, Layout::Transposed | Layout::Patches { .. }) {
        tensor = tensor.transpose();
    }
    let mut shape = tensor.dims().to_vec();
    match layout {
        Layout::Patches { size } => {
            shape = vec![shape[0], shape[1] / (size * size), size, size];
        }
        Layout::Row => shape = vec![shape[1]],
        Layout::Same | Layout::Table | Layout::Transposed | Layout::Turns { .. } => {}
    }
    Saved {
        dtype: dtype_in_file(tensor.dtype()),
        shape,
        data: Box::new(move || tensor.clone().into_data()),
    }
}

/// Projections that become one in the file; each is `[turns, size, in]` when it is asked for.
pub(super) struct Turns {
    dtype: Dtype,
    // Of one of them.
    shape: Vec<usize>,
    parts: Vec<Option<Box<dyn Fn() -> Tensor<3>>>>,
}

impl Turns {
    /// Room for `of` projections with weights `[in, out]`, or biases `[out]`, like this one.
    pub(super) fn new<const D: usize>(of: usize, like: &Tensor<D>) -> Self {
        Self {
            dtype: dtype_in_file(like.dtype()),
            shape: like.dims().iter().rev().copied().collect(),
            parts: (0..of).map(|_| None).collect(),
        }
    }

    /// One of them, whose outputs go in turns of `size`.
    pub(super) fn set<const D: usize>(&mut self, index: usize, size: usize, tensor: Tensor<D>) {
        let [inputs, outputs] = match tensor.dims()[..] {
            [inputs, outputs] => [inputs, outputs],
            _ => [1, tensor.dims()[0]],
        };
        self.parts[index] = Some(Box::new(move || {
            let matrix: Tensor<2> = tensor.clone().reshape([inputs, outputs]);
            matrix.transpose().reshape([outputs / size, size, inputs])
        }));
    }

    /// All of them as one.
    pub(super) fn join(self) -> Saved {
        let mut shape = self.shape;
        shape[0] *= self.parts.len();
        let parts: Vec<_> = self
            .parts
            .into_iter()
            .map(|part| part.expect("the module has every part that the key table names"))
            .collect();
        Saved {
            dtype: self.dtype,
            shape,
            data: Box::new(move || {
                let parts = parts.iter().map(|part| part()).collect();
                Tensor::cat(parts, 1).into_data()
            }),
        }
    }
}

/// A tensor that leaves its device when it is written.
pub(super) struct Saved {
    dtype: Dtype,
    pub(super) shape: Vec<usize>,
    data: Box<dyn Fn() -> TensorData>,
}

impl View for Saved {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned((self.data)().as_bytes().to_vec())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}
