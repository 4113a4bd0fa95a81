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
    };
    module.visit(&mut collect);
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

fn write(tensors: Vec<(String, Saved)>, path: PathBuf) -> Result<(), Error> {
    let partial = path.with_extension("safetensors.partial");
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(tensors, Some(metadata), &partial)
        .map_err(|error| Error::file(&path, error.to_string()))?;
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
        let mut tensor = param.base();
        if matches!(layout, Layout::Transposed | Layout::Patches { .. }) {
            tensor = tensor.transpose();
        }
        let mut shape = tensor.dims().to_vec();
        match layout {
            Layout::Patches { size } => {
                shape = vec![shape[0], shape[1] / (size * size), size, size];
            }
            Layout::Row => shape = vec![shape[1]],
            Layout::Same | Layout::Transposed => {}
        }
        let dtype = match tensor.dtype() {
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::F64 => Dtype::F64,
            _ => Dtype::F32,
        };
        let saved = Saved {
            dtype,
            shape,
            data: Box::new(move || tensor.clone().into_data()),
        };
        self.tensors.insert(key, saved);
    }
}

/// A tensor that leaves its device when it is written.
struct Saved {
    dtype: Dtype,
    shape: Vec<usize>,
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
