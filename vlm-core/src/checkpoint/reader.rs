use std::{
    collections::BTreeMap,
    fs::File,
    path::{Component, Path, PathBuf},
};

use burn::tensor::{FloatDType, TensorData};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use memmap2::{Mmap, MmapOptions};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::Error;

/// The weights of a checkpoint in one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The list of shards of a checkpoint in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// The tensors of a checkpoint folder: headers in memory, values mapped when they are read.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    offset: usize,
    len: usize,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads the headers of `model.safetensors`, or of the shards that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    ///
    /// When neither is there, a file is damaged, or a shard lacks a tensor that the index promises.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let mut checkpoint = Self {
            path: folder.to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        let single = folder.join(WEIGHTS_FILE);
        if single.is_file() {
            checkpoint.add(single)?;
            return Ok(checkpoint);
        }
        let index_path = folder.join(INDEX_FILE);
        if !index_path.is_file() {
            let other = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
            let hint = match other.iter().any(|name| folder.join(name).is_file()) {
                true => {
                    " (pytorch_model.bin is not read: save the model as safetensors with transformers)"
                }
                false => "",
            };
            return Err(Error::file(
                folder,
                format!("neither {WEIGHTS_FILE} nor {INDEX_FILE} is there{hint}"),
            ));
        }
        let text = std::fs::read_to_string(&index_path).map_err(Error::io(&index_path))?;
        let index: Index = serde_json::from_str(&text).map_err(Error::json(&index_path))?;
        let mut shards: Vec<&String> = index.weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            let mut parts = Path::new(shard).components();
            if !matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(Error::file(
                    &index_path,
                    format!("`{shard}` is not the name of a file in the folder"),
                ));
            }
            checkpoint.add(folder.join(shard))?;
        }
        let absent = |(key, _): &(&String, &String)| !checkpoint.tensors.contains_key(*key);
        if let Some((key, shard)) = index.weight_map.iter().find(absent) {
            return Err(Error::file(
                folder.join(shard),
                format!("tensor `{key}`, which {INDEX_FILE} promises, is not there"),
            ));
        }
        Ok(checkpoint)
    }

    /// Reads the headers of the given safetensors file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is damaged.
    pub fn open_file(file: impl AsRef<Path>) -> Result<Self, Error> {
        let file = file.as_ref().to_path_buf();
        let mut checkpoint = Self {
            path: file.clone(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        checkpoint.add(file)?;
        Ok(checkpoint)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = File::open(&path).map_err(Error::io(&path))?;
        let map = map(&file, 0, None).map_err(Error::io(&path))?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
            Error::file(&path, format!("not a whole safetensors file: {error}"))
        })?;
        let first = header + size_of::<u64>();
        let index = self.files.len();
        for (key, info) in metadata.tensors() {
            let (begin, end) = info.data_offsets;
            let entry = Entry {
                file: index,
                dtype: info.dtype,
                shape: info.shape.clone(),
                offset: first + begin,
                len: end - begin,
            };
            if self.tensors.insert(key.clone(), entry).is_some() {
                return Err(Error::file(
                    &path,
                    format!("tensor `{key}` stands in an earlier shard, too"),
                ));
            }
        }
        self.files.push(path);
        Ok(())
    }

    /// The folder or file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor as it stands in the file.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|entry| &entry.shape[..])
    }

    /// Bytes of a tensor as it stands in the file; 0 when it is not there.
    pub fn bytes(&self, key: &str) -> usize {
        self.tensors.get(key).map_or(0, |entry| entry.len)
    }

    /// Reads a tensor of 32, 16 or brain-16 bit floats as `dtype`.
    ///
    /// The file is mapped for this tensor alone and unmapped before the call returns, so that converted
    /// weights do not stay in memory twice.
    ///
    /// # Errors
    ///
    /// When the key is not there, is no float tensor, or the file cannot be read.
    pub fn read(&self, key: &str, dtype: FloatDType) -> Result<TensorData, Error> {
        let unusable = |message: String| Error::file(&self.path, message);
        let Some(entry) = self.tensors.get(key) else {
            return Err(unusable(format!("tensor `{key}` is not there")));
        };
        let path = &self.files[entry.file];
        let file = File::open(path).map_err(Error::io(path))?;
        let bytes = map(&file, entry.offset as u64, Some(entry.len)).map_err(Error::io(path))?;
        convert(&bytes, entry.dtype, dtype, &entry.shape).ok_or_else(|| {
            unusable(format!(
                "tensor `{key}` is {:?}, expected F32, F16 or BF16",
                entry.dtype
            ))
        })
    }
}

fn map(file: &File, offset: u64, len: Option<usize>) -> std::io::Result<Mmap> {
    let mut options = MmapOptions::new();
    options.offset(offset);
    if let Some(len) = len {
        options.len(len);
    }
    // SAFETY: the map is read only. Should another process shorten the file meanwhile, the kernel ends this
    // one; every reader of mapped safetensors accepts that.
    #[allow(unsafe_code)]
    unsafe {
        options.map(file)
    }
}

fn convert(bytes: &[u8], from: Dtype, to: FloatDType, shape: &[usize]) -> Option<TensorData> {
    let f32s = || -> Vec<f32> {
        let words = bytes.as_chunks::<4>().0;
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    };
    let f16s = || -> Vec<f16> {
        let words = bytes.as_chunks::<2>().0;
        words.iter().map(|word| f16::from_le_bytes(*word)).collect()
    };
    let bf16s = || -> Vec<bf16> {
        let words = bytes.as_chunks::<2>().0;
        words
            .iter()
            .map(|word| bf16::from_le_bytes(*word))
            .collect()
    };
    let shape = shape.to_vec();
    Some(match (from, to) {
        (Dtype::F16, FloatDType::F16) => TensorData::new(f16s(), shape),
        (Dtype::BF16, FloatDType::BF16) => TensorData::new(bf16s(), shape),
        (Dtype::F32 | Dtype::F16 | Dtype::BF16, _) => {
            let values = match from {
                Dtype::F32 => f32s(),
                Dtype::F16 => f16s().to_f32_vec(),
                _ => bf16s().to_f32_vec(),
            };
            match to {
                FloatDType::F16 => {
                    let mut narrow = vec![f16::ZERO; values.len()];
                    narrow.convert_from_f32_slice(&values);
                    TensorData::new(narrow, shape)
                }
                FloatDType::BF16 => {
                    let mut narrow = vec![bf16::ZERO; values.len()];
                    narrow.convert_from_f32_slice(&values);
                    TensorData::new(narrow, shape)
                }
                FloatDType::F64 => {
                    let wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
                    TensorData::new(wide, shape)
                }
                _ => TensorData::new(values, shape),
            }
        }
        _ => return None,
    })
}
