use burn::tensor::Device;

use crate::Error;

/// Reads a device from a flag: `flex`, `ndarray`, `cuda`, `cuda:1`, `wgpu`, `wgpu:0`.
///
/// ```
/// assert!(vlm::parse_device("flex").is_ok());
/// let error = vlm::parse_device("tpu").unwrap_err().to_string();
/// assert!(error.starts_with("device `tpu` is not known"));
/// ```
///
/// # Errors
///
/// When the device is not known, or the program was built without it.
pub fn parse_device(name: &str) -> Result<Device, Error> {
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => {
            let number = index.parse::<usize>();
            let number = number.map_err(|_| {
                Error::Usage(format!(
                    "device `{name}`: expected a number after `:`, found `{index}`"
                ))
            })?;
            (kind, Some(number))
        }
    };
    // Which arms can be reached depends on the features.
    #[allow(unreachable_patterns)]
    match kind {
        #[cfg(feature = "flex")]
        "flex" if index.is_none() => Ok(Device::flex()),
        // Deprecated by burn in favour of flex; kept to compare with.
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)]
        "ndarray" if index.is_none() => Ok(Device::ndarray()),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(index.unwrap_or(0))),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(match index {
            Some(index) => burn::tensor::DeviceKind::DiscreteGpu(index),
            None => burn::tensor::DeviceKind::DefaultDevice,
        })),
        "flex" | "ndarray" if index.is_some() => {
            Err(Error::Usage(format!("device `{name}`: there is one CPU")))
        }
        "flex" | "ndarray" | "cuda" | "wgpu" => Err(Error::Usage(format!(
            "device `{kind}` is not in this program: build it with `--features {kind}`"
        ))),
        _ => Err(Error::Usage(format!(
            "device `{name}` is not known: expected flex, ndarray, cuda[:I] or wgpu[:I]"
        ))),
    }
}
