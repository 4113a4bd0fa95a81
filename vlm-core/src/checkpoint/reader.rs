use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::{Component, Path, PathBuf},
};

use burn::tensor::{FloatDType, TensorData};
use half::{bf16, f16, slice::HalfFloatSliceExt, vec::HalfBitsVecExt};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::Error;

/// The weights of a checkpoint in one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The list of shards of a checkpoint in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// The tensors of a checkpoint folder: headers in memory, values in the file until they are read.
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
        let map = map(&file).map_err(Error::io(&path))?;
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
    /// The file is read a window of some megabytes at a time, so neither it nor a converted copy is in memory
    /// beside the result.
    ///
    /// # Errors
    ///
    /// When the key is not there, is no float tensor, or the file cannot be read.
    pub fn read(&self, key: &str, dtype: FloatDType) -> Result<TensorData, Error> {
        self.read_rows(key, None, None, dtype)
    }

    /// As [`read`](Self::read), the given rows of a tensor, or of the part of it that `turns` says; `None` for all.
    /// Other rows are not touched. Rows that do not divide into such turns are an error.
    pub(super) fn read_rows(
        &self,
        key: &str,
        turns: Option<Turns>,
        rows: Option<Range<usize>>,
        dtype: FloatDType,
    ) -> Result<TensorData, Error> {
        let unusable = |message: String| Error::file(&self.path, message);
        let Some(entry) = self.tensors.get(key) else {
            return Err(unusable(format!("tensor `{key}` is not there")));
        };
        let mut shape = entry.shape.clone();
        let all = shape.first().copied().unwrap_or(1);
        let turns = match turns {
            None => Turns::whole(all),
            Some(turns) if turns.divide(all) && !shape.is_empty() => turns,
            Some(Turns { of, size, .. }) => {
                return Err(unusable(format!(
                    "tensor `{key}` does not divide into {of} times {size} rows"
                )));
            }
        };
        let rows = rows.unwrap_or(0..all / turns.of);
        if let Some(count) = shape.first_mut() {
            *count = rows.len();
        }
        let path = &self.files[entry.file];
        let file = File::open(path).map_err(Error::io(path))?;
        let row_bytes = entry.len / all.max(1);
        let pieces = |take: &mut dyn FnMut(&[u8])| {
            let mut bytes = Vec::new();
            for window in turns.windows(rows.clone(), row_bytes) {
                bytes.resize(window.len(), 0);
                let begin = SeekFrom::Start((entry.offset + window.start) as u64);
                let sought = (&file).seek(begin);
                let read = sought.and_then(|_| (&file).read_exact(&mut bytes));
                read.map_err(Error::io(path))?;
                take(&bytes);
            }
            Ok(())
        };
        convert(&pieces, entry.dtype, dtype, shape)?.ok_or_else(|| {
            unusable(format!(
                "tensor `{key}` is {:?}, expected F32, F16 or BF16",
                entry.dtype
            ))
        })
    }
}

/// Bytes that are read at a time, unless a row is longer. To read them is faster than to map them, which costs a
/// fault for every few pages.
pub(super) const WINDOW: usize = 4 << 20;

/// Every `of`-th block of `size` rows, from block `index` on.
#[derive(Clone, Copy)]
pub(super) struct Turns {
    pub index: usize,
    pub of: usize,
    pub size: usize,
}

impl Turns {
    fn whole(rows: usize) -> Self {
        Self {
            index: 0,
            of: 1,
            size: rows.max(1),
        }
    }

    fn divide(self, rows: usize) -> bool {
        let round = self.of * self.size;
        round > 0 && rows.is_multiple_of(round)
    }

    /// The bytes of a tensor where `rows` of this part lie, in their order, at most a window at a time.
    fn windows(self, rows: Range<usize>, row_bytes: usize) -> impl Iterator<Item = Range<usize>> {
        let most = (WINDOW / row_bytes.max(1)).max(1);
        let mut next = rows.start;
        std::iter::from_fn(move || {
            let (round, within) = (next / self.size, next % self.size);
            let count = (self.size - within)
                .min(rows.end.saturating_sub(next))
                .min(most);
            let first = (round * self.of + self.index) * self.size + within;
            next += count;
            (count * row_bytes > 0).then(|| first * row_bytes..(first + count) * row_bytes)
        })
    }
}

/// The whole file, of which the header alone is touched.
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read only. Should another process shorten the file meanwhile, the kernel ends this
    // one; every reader of mapped safetensors accepts that.
    #[allow(unsafe_code)]
    unsafe {
        Mmap::map(file)
    }
}

/// Values that one core converts at a time.
const BLOCK: usize = 1 << 14;

/// Gives a function the bytes of a tensor, whole numbers of values at a time.
type Pieces<'a> = &'a dyn Fn(&mut dyn FnMut(&[u8])) -> Result<(), Error>;

/// The values as `to`; nothing where they are no floats.
fn convert(
    pieces: Pieces,
    from: Dtype,
    to: FloatDType,
    shape: Vec<usize>,
) -> Result<Option<TensorData>, Error> {
    let read_f32 = |words: &[[u8; 4]], to: &mut [f32]| {
        for (to, word) in to.iter_mut().zip(words) {
            *to = f32::from_le_bytes(*word);
        }
    };
    let read_f16 = |words: &[[u8; 2]], to: &mut [f16]| {
        for (to, word) in to.iter_mut().zip(words) {
            *to = f16::from_le_bytes(*word);
        }
    };
    let read_bf16 = |words: &[[u8; 2]], to: &mut [bf16]| {
        for (to, word) in to.iter_mut().zip(words) {
            *to = bf16::from_le_bytes(*word);
        }
    };
    Ok(Some(match (from, to) {
        (Dtype::F16, FloatDType::F16) => {
            let zeros = zero_bits(&shape).reinterpret_into();
            TensorData::new(fill::<_, f16>(zeros, pieces, read_f16)?, shape)
        }
        (Dtype::BF16, FloatDType::BF16) => {
            let zeros = zero_bits(&shape).reinterpret_into();
            TensorData::new(fill::<_, bf16>(zeros, pieces, read_bf16)?, shape)
        }
        (Dtype::F32, _) => narrow(pieces, to, shape, read_f32)?,
        (Dtype::F16, _) => narrow(pieces, to, shape, |words, to| {
            let mut halves = [f16::ZERO; BLOCK];
            let halves = &mut halves[..to.len()];
            read_f16(words, halves);
            halves.convert_to_f32_slice(to);
        })?,
        (Dtype::BF16, _) => narrow(pieces, to, shape, |words, to| {
            let mut halves = [bf16::ZERO; BLOCK];
            let halves = &mut halves[..to.len()];
            read_bf16(words, halves);
            halves.convert_to_f32_slice(to);
        })?,
        _ => return Ok(None),
    }))
}

/// Values of `N` bytes as `to`, where `read` makes 32-bit floats of a block of them.
fn narrow<const N: usize>(
    pieces: Pieces,
    to: FloatDType,
    shape: Vec<usize>,
    read: impl Fn(&[[u8; N]], &mut [f32]) + Sync,
) -> Result<TensorData, Error> {
    let through = |words: &[[u8; N]]| {
        let mut values = [0.0; BLOCK];
        read(words, &mut values[..words.len()]);
        values
    };
    let count = shape.iter().product();
    Ok(match to {
        FloatDType::F16 => {
            let write = |words: &[[u8; N]], to: &mut [f16]| {
                to.convert_from_f32_slice(&through(words)[..words.len()]);
            };
            let zeros = zero_bits(&shape).reinterpret_into();
            TensorData::new(fill(zeros, pieces, write)?, shape)
        }
        FloatDType::BF16 => {
            let write = |words: &[[u8; N]], to: &mut [bf16]| {
                to.convert_from_f32_slice(&through(words)[..words.len()]);
            };
            let zeros = zero_bits(&shape).reinterpret_into();
            TensorData::new(fill(zeros, pieces, write)?, shape)
        }
        FloatDType::F64 => {
            let write = |words: &[[u8; N]], to: &mut [f64]| {
                for (to, value) in to.iter_mut().zip(through(words)) {
                    *to = f64::from(value);
                }
            };
            TensorData::new(fill(vec![0.0; count], pieces, write)?, shape)
        }
        _ => TensorData::new(fill(vec![0.0; count], pieces, read)?, shape),
    })
}

/// Zeros of 16 bits, which the system hands out without writing them; those of [`half`] would be written.
fn zero_bits(shape: &[usize]) -> Vec<u16> {
    vec![0; shape.iter().product()]
}

/// Converts values of `N` bytes into `values`, block by block on all cores.
fn fill<const N: usize, T: Send>(
    mut values: Vec<T>,
    pieces: Pieces,
    write: impl Fn(&[[u8; N]], &mut [T]) + Sync,
) -> Result<Vec<T>, Error> {
    let mut rest = &mut values[..];
    pieces(&mut |bytes| {
        let words = bytes.as_chunks::<N>().0;
        let (to, after) = std::mem::take(&mut rest).split_at_mut(words.len());
        let pairs = to.par_chunks_mut(BLOCK).zip(words.par_chunks(BLOCK));
        pairs.for_each(|(to, words)| write(words, to));
        rest = after;
    })?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precision_becomes_every_other() {
        // Longer than a block, with what 16 bits round, and what they cannot hold.
        let values: Vec<f32> = (0..2 * BLOCK + 7)
            .map(|index| (index as f32 - 9000.0) * 1.000_37)
            .chain([f32::INFINITY, -0.0, 1e-9, 7e4])
            .collect();
        let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
        let brains: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
        let files: [(Dtype, Vec<u8>, Vec<f32>); 3] = [
            (
                Dtype::F32,
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
                values.clone(),
            ),
            (
                Dtype::F16,
                halves
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
                halves.iter().map(|value| value.to_f32()).collect(),
            ),
            (
                Dtype::BF16,
                brains
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
                brains.iter().map(|value| value.to_f32()).collect(),
            ),
        ];
        for (from, bytes, values) in files {
            // Two windows, the second of which begins within a block.
            let middle = bytes.len() / values.len() * (BLOCK + 5);
            let pieces = |take: &mut dyn FnMut(&[u8])| {
                take(&bytes[..middle]);
                take(&bytes[middle..]);
                Ok(())
            };
            let read = |to| {
                let read = convert(&pieces, from, to, vec![values.len()]);
                read.unwrap().unwrap()
            };
            let found: Vec<f32> = read(FloatDType::F32).try_into_vec().unwrap();
            assert!(found == values, "{from:?} as F32");
            let found: Vec<f64> = read(FloatDType::F64).try_into_vec().unwrap();
            assert!(found.iter().zip(&values).all(|(a, b)| *a == f64::from(*b)));
            let found: Vec<f16> = read(FloatDType::F16).try_into_vec().unwrap();
            let expected = values.iter().map(|value| f16::from_f32(*value));
            assert!(found.into_iter().eq(expected), "{from:?} as F16");
            let found: Vec<bf16> = read(FloatDType::BF16).try_into_vec().unwrap();
            let expected = values.iter().map(|value| bf16::from_f32(*value));
            assert!(found.into_iter().eq(expected), "{from:?} as BF16");
        }
        let converted = convert(&|_| Ok(()), Dtype::I64, FloatDType::F32, vec![1]);
        assert!(converted.unwrap().is_none());
    }

    #[test]
    fn windows_are_the_rows_in_their_order() {
        let turns = Turns {
            index: 1,
            of: 3,
            size: 4,
        };
        let found = |rows, row_bytes| turns.windows(rows, row_bytes).collect::<Vec<_>>();
        assert_eq!(found(0..8, 10), [40..80, 160..200]);
        assert_eq!(found(2..5, 10), [60..80, 160..170]);
        assert!(found(0..8, 0).is_empty());
        // A row and a half of a window, then rows longer than one.
        let row = WINDOW * 2 / 3;
        assert_eq!(found(0..2, row), [4 * row..5 * row, 5 * row..6 * row]);
        assert_eq!(Turns::whole(9).windows(0..9, WINDOW + 1).count(), 9);
        assert_eq!(Turns::whole(0).windows(0..0, 4).count(), 0);
    }
}
