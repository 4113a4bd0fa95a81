//! Loading holds a window of the file beside the weights, not a tensor.
#![cfg(target_os = "linux")]

use std::{fs::File, io::Write, path::Path};

use burn::{
    module::Module,
    tensor::{Device, FloatDType},
};
use serde_json::{Map, json};
use vlm_core::{
    checkpoint::{Checkpoint, KeyMap, Loader, Quantization, WEIGHTS_FILE},
    nn::{Linear, LinearConfig},
};

const INPUTS: usize = 4096;
const OUTPUTS: usize = 16_384;
const LAYERS: usize = 2;
/// Of all layers.
const WEIGHTS: usize = LAYERS * INPUTS * OUTPUTS;
/// Some windows of 4 MiB, what is rounded of one, and what the threads need. A layer's floats take 128 MiB.
const SLACK: usize = 64 << 20;

/// `LAYERS` weights of zeros that take no room on the disk.
fn write(path: &Path) {
    let bytes = 2 * WEIGHTS / LAYERS;
    let header: Map<_, _> = (0..LAYERS)
        .map(|layer| {
            let offsets = [layer * bytes, (layer + 1) * bytes];
            let entry =
                json!({ "dtype": "BF16", "shape": [OUTPUTS, INPUTS], "data_offsets": offsets });
            (format!("{layer}.weight"), entry)
        })
        .collect();
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + 2 * WEIGHTS) as u64)
        .unwrap();
}

#[derive(Module, Debug)]
struct Layers {
    layers: Vec<Linear>,
}

/// The largest resident size of this process so far, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: usize = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib << 10
}

#[test]
fn no_tensor_is_in_memory_twice() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(WEIGHTS_FILE));
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let keys = KeyMap::new().linear("{}", "layers.{}");
    let device = Device::default();
    let before = peak();
    // Each needs more than those before, which is given back.
    for (quantization, bytes) in [
        // A factor of 2 bytes for 32 weights, and with 4 bits as long a shift.
        (Some(Quantization::Int4), WEIGHTS / 2 + WEIGHTS / 8),
        (Some(Quantization::Int8), WEIGHTS + WEIGHTS / 16),
        (None, 2 * WEIGHTS),
    ] {
        let layer = LinearConfig::new(INPUTS, OUTPUTS).with_bias(false);
        let layers = (0..LAYERS).map(|_| layer.init(&device)).collect();
        let loaded = Loader::new(&checkpoint, &keys, FloatDType::BF16)
            .with_quantization(quantization)
            .load(Layers { layers })
            .unwrap();
        let taken = peak() - before;
        drop(loaded);
        assert!(
            taken <= bytes + SLACK,
            "{quantization:?}: {} MiB for {} MiB of weights",
            taken >> 20,
            bytes >> 20
        );
    }
}
