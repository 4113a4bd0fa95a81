use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::{
    module::{LoraAdapter, Module, ModuleMapper, ModuleVisitor, Param, Reparameterizer},
    tensor::{FloatDType, Tensor},
};

use super::{
    AdapterConfig, Checkpoint, KeyMap, Layout,
    load::{read_as, transposed},
};
use crate::{Error, nn::LoraDropout};

/// The weights of an adapter.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";

/// What PEFT puts before the names of the modules that it wraps.
pub(super) const PREFIX: &str = "base_model.model.";

/// Attaches a LoRA adapter in PEFT's layout to a module: `adapter_config.json`, `adapter_model.safetensors`.
///
/// Factors become burn's own adapters, which [`Linear`](crate::nn::Linear) applies as
/// `x · base + scale · (x · a) · b`; burn's `materialize` merges them. With a `lora_dropout` they are
/// [`LoraDropout`](crate::nn::LoraDropout), which differs from burn's while it learns only. Modules that were
/// saved whole (`modules_to_save`) replace the model's. All base weights are frozen, as by burn's `apply_lora`.
///
/// ```no_run
/// use burn::{module::Module, tensor::{Device, FloatDType}};
/// use vlm_core::{checkpoint::{KeyMap, load_adapter}, nn::LinearConfig};
///
/// # fn main() -> Result<(), vlm_core::Error> {
/// let keys = KeyMap::new().linear("dense", "");
/// let layer = LinearConfig::new(4, 2).init(&Device::default());
/// let adapted = load_adapter(layer, "path/to/adapter", &keys, FloatDType::F32)?;
/// let merged = adapted.materialize();
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// When a file is missing or damaged, a key of the configuration is not supported, or a tensor belongs to no
/// parameter or has another shape than it needs.
pub fn load_adapter<M: Module>(
    module: M,
    folder: impl AsRef<Path>,
    keys: &KeyMap,
    dtype: FloatDType,
) -> Result<M, Error> {
    let folder = folder.as_ref();
    let config = AdapterConfig::from_folder(folder)?;
    let checkpoint = Checkpoint::open_file(folder.join(ADAPTER_FILE))?;
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    let plan = Plan::new(&checkpoint, &config, keys, &shapes.found)?;
    let mut whole = Whole {
        path: Vec::new(),
        checkpoint: &checkpoint,
        tensors: plan.whole,
        dtype,
        error: None,
    };
    let module = module.map(&mut whole);
    if let Some(error) = whole.error {
        return Err(error);
    }
    let mut factors = BTreeMap::new();
    for (path, pair) in plan.pairs {
        let a = transposed(&checkpoint.read(&pair.a, dtype)?);
        let b = transposed(&read_as(&checkpoint, &pair.b, pair.layout, dtype)?);
        factors.insert(path, (a, b, pair.scale));
    }
    let attach = Attach { factors, dtype };
    Ok(match config.lora_dropout > 0.0 {
        false => module.apply_reparameterization(Plain(attach)),
        true => module.apply_reparameterization(Dropped(attach, config.lora_dropout)),
    })
}

/// Which tensor of the file goes where; everything is checked before a value is read.
struct Plan {
    // Parameter path -> its factors.
    pairs: BTreeMap<String, Pair>,
    // Parameter path -> key, and how it lies.
    whole: BTreeMap<String, (String, Layout)>,
}

struct Pair {
    a: String,
    b: String,
    scale: f64,
    // How the outputs of the adapted weight lie.
    layout: Layout,
}

impl Plan {
    fn new(
        checkpoint: &Checkpoint,
        config: &AdapterConfig,
        keys: &KeyMap,
        parameters: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Self, Error> {
        // Canonical key -> paths and layouts of the parameters that lie there.
        let mut known: BTreeMap<String, Vec<(&str, Layout)>> = BTreeMap::new();
        for path in parameters.keys() {
            if let Some((key, layout)) = keys.key_of(path) {
                known.entry(key).or_default().push((path, layout));
            }
        }
        let wrong = |message: String| Err(Error::file(checkpoint.path(), message));
        let mut plan = Self {
            pairs: BTreeMap::new(),
            whole: BTreeMap::new(),
        };
        let mut used = BTreeSet::new();
        for key in checkpoint.keys() {
            let name = key.strip_prefix(PREFIX).unwrap_or(key);
            let name = name.replace(".modules_to_save.default", "");
            let module = name
                .strip_suffix(".lora_A.weight")
                .or_else(|| name.strip_suffix(".lora_B.weight"));
            let weight = module.map_or(name.clone(), |module| format!("{module}.weight"));
            let Some(places) = known.get(&keys.canonical(&weight)) else {
                return wrong(format!("tensor `{key}` belongs to no weight of the model"));
            };
            let shape = checkpoint.shape(key).unwrap_or_default();
            for (path, layout) in places {
                let (ours, layout) = (&parameters[*path], *layout);
                let expected = match (module, layout, &ours[..]) {
                    (None, Layout::Transposed, [rows, columns]) => vec![*columns, *rows],
                    (None, Layout::Turns { of, .. }, [rows, columns]) => vec![of * columns, *rows],
                    (None, Layout::Turns { of, .. }, [size]) => vec![of * size],
                    (None, Layout::Same | Layout::Table, _) => ours.clone(),
                    (Some(module), Layout::Transposed | Layout::Turns { .. }, [rows, columns]) => {
                        let rank = config.rank(module);
                        let parts = match layout {
                            Layout::Turns { of, .. } => of,
                            _ => 1,
                        };
                        match name.ends_with(".lora_A.weight") {
                            true => vec![rank, *rows],
                            false => vec![parts * columns, rank],
                        }
                    }
                    _ => {
                        return wrong(format!(
                            "tensor `{key}`: only weights of projections are adapted"
                        ));
                    }
                };
                if shape != expected {
                    return wrong(format!(
                        "tensor `{key}` has shape {shape:?}, expected {expected:?}"
                    ));
                }
            }
            used.insert(name.clone());
            let Some(module) = module else {
                for (path, layout) in places {
                    let whole = (key.to_owned(), *layout);
                    plan.whole.insert((*path).to_owned(), whole);
                }
                continue;
            };
            let (a, b) = match key.strip_suffix(".lora_A.weight") {
                Some(stem) => (key.to_owned(), format!("{stem}.lora_B.weight")),
                None => {
                    let stem = key.trim_end_matches(".lora_B.weight");
                    (format!("{stem}.lora_A.weight"), key.to_owned())
                }
            };
            for factor in [&a, &b] {
                if checkpoint.shape(factor).is_none() {
                    return wrong(format!("tensor `{factor}` is not there"));
                }
            }
            for (path, layout) in places {
                let pair = Pair {
                    a: a.clone(),
                    b: b.clone(),
                    scale: config.scale(module),
                    layout: *layout,
                };
                plan.pairs.insert((*path).to_owned(), pair);
            }
        }
        for module in config.modules_to_save.iter().flatten() {
            let inside = |name: &String| {
                let name = name.split('.').collect::<Vec<_>>();
                let module = module.split('.').collect::<Vec<_>>();
                name.windows(module.len()).any(|part| part == module)
            };
            if !used.iter().any(inside) {
                return wrong(format!(
                    "`{module}` of modules_to_save has no tensor in the file"
                ));
            }
        }
        Ok(plan)
    }
}

/// Paths and shapes of all parameters.
#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    found: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().iter().copied().collect();
        self.found.insert(self.path.join("."), shape);
    }
}

/// Replaces the parameters that an adapter has whole.
struct Whole<'a> {
    path: Vec<String>,
    checkpoint: &'a Checkpoint,
    tensors: BTreeMap<String, (String, Layout)>,
    dtype: FloatDType,
    error: Option<Error>,
}

impl ModuleMapper for Whole<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((key, layout)) = self.tensors.get(&self.path.join(".")) else {
            return param;
        };
        match read_as(self.checkpoint, key, *layout, self.dtype) {
            Ok(mut data) => {
                if D == 2 && matches!(layout, Layout::Transposed | Layout::Turns { .. }) {
                    data = transposed(&data);
                }
                let options = (&param.lazy_device(), self.dtype.into());
                let tensor = Tensor::<D>::from_data(data, options);
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error.get_or_insert(error);
                param
            }
        }
    }
}

/// Puts stored factors where burn's LoRA would put fresh ones.
struct Attach {
    factors: BTreeMap<String, (burn::tensor::TensorData, burn::tensor::TensorData, f64)>,
    dtype: FloatDType,
}

impl Attach {
    fn take<const D: usize>(
        &mut self,
        path: &str,
        param: &Param<Tensor<D>>,
    ) -> Option<LoraAdapter> {
        let (a, b, scale) = self.factors.remove(path)?;
        let device = param.lazy_device();
        let factor = |data| {
            let options = (&device, self.dtype.into());
            Param::from_tensor(Tensor::<2>::from_data(data, options))
        };
        Some(LoraAdapter {
            a: factor(a),
            b: factor(b),
            scale,
        })
    }
}

struct Plain(Attach);

impl Reparameterizer for Plain {
    type Reparam = LoraAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraAdapter>) {
        let adapter = self.0.take(path, &param);
        (param.set_require_grad(false), adapter)
    }
}

struct Dropped(Attach, f64);

impl Reparameterizer for Dropped {
    type Reparam = LoraDropout;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraDropout>) {
        let adapter = self.0.take(path, &param).map(|adapter| LoraDropout {
            a: adapter.a,
            b: adapter.b,
            scale: adapter.scale,
            dropout: self.1,
        });
        (param.set_require_grad(false), adapter)
    }
}
