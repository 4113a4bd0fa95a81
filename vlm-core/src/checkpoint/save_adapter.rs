use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};
use serde_json::Value;

use super::{
    ADAPTER_FILE, AdapterConfig, KeyMap, Layout,
    adapter::PREFIX,
    save::{Saved, Turns, saved, write},
};
use crate::Error;

/// Writes a module's LoRA adapters in PEFT's layout, and parameters that `whole` picks as `modules_to_save`:
/// what [`load_adapter`](super::load_adapter) and peft read.
///
/// Adapters of projections that are one in the file become one of their joint rank, which `config`'s patterns
/// name: the outputs of each read its own part of the first factor.
///
/// Where `config` leaves `target_modules` or `modules_to_save` open, the modules are listed by their full names:
/// peft would find a short one such as `q_proj` in a vision tower, too.
///
/// # Errors
///
/// When a file cannot be written.
///
/// # Panics
///
/// When the module has no adapters, `config` gives one another rank, or the key table lacks its weight.
pub fn save_adapter(
    module: &impl Module,
    keys: &KeyMap,
    folder: impl AsRef<Path>,
    mut config: AdapterConfig,
    whole: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let folder = folder.as_ref();
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut collect = Collect {
        path: Vec::new(),
        keys,
        config: &config,
        whole,
        tensors: BTreeMap::new(),
        joint: BTreeMap::new(),
        turns: BTreeMap::new(),
        adapted: Vec::new(),
        kept: Vec::new(),
    };
    module.visit(&mut collect);
    let Collect {
        mut tensors,
        joint,
        turns,
        mut adapted,
        kept,
        ..
    } = collect;
    tensors.extend(turns.into_iter().map(|(key, turns)| (key, turns.join())));
    for (module, joint) in joint {
        let (scale, rank) = (config.scale(&module), joint.rank());
        let divisor = match config.use_rslora {
            true => (rank as f64).sqrt(),
            false => rank as f64,
        };
        config.rank_pattern.insert(module.clone(), rank);
        config.alpha_pattern.insert(module.clone(), scale * divisor);
        let [a, b] = joint.factors();
        tensors.insert(format!("{PREFIX}{module}.lora_A.weight"), a);
        tensors.insert(format!("{PREFIX}{module}.lora_B.weight"), b);
        adapted.push(module);
    }
    assert!(!adapted.is_empty(), "the module has no adapters");
    if !matches!(&config.target_modules, Value::Array(names) if !names.is_empty())
        && !config.target_modules.is_string()
    {
        adapted.sort();
        config.target_modules = adapted.into_iter().map(Value::String).collect();
    }
    if config.modules_to_save.is_none() && !kept.is_empty() {
        config.modules_to_save = Some(modules(&kept));
    }
    write(tensors.into_iter().collect(), folder.join(ADAPTER_FILE))?;
    config.save(folder)
}

/// The modules that hold some parameters, without those that are inside another one.
fn modules(parameters: &[String]) -> Vec<String> {
    let module = |key: &String| {
        key.rsplit_once('.')
            .map_or("", |(module, _)| module)
            .to_owned()
    };
    let all: BTreeSet<String> = parameters.iter().map(module).collect();
    let inside = |module: &str, outer: &str| {
        let rest = module.strip_prefix(outer);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let outermost = |module: &&String| !all.iter().any(|outer| inside(module, outer));
    all.iter().filter(outermost).cloned().collect()
}

/// Adapters of projections that take turns in one of the file, `[in, rank]` and `[rank, out]` each.
struct Joint {
    of: usize,
    size: usize,
    first: BTreeMap<usize, Tensor<2>>,
    second: BTreeMap<usize, Tensor<2>>,
}

impl Joint {
    fn rank(&self) -> usize {
        self.first.values().map(|a| a.dims()[1]).sum()
    }

    /// The factors of one adapter that does what all of them do.
    fn factors(self) -> [Saved; 2] {
        let rank = self.rank();
        let mut turns: Option<Turns> = None;
        let mut before = 0;
        for (index, b) in self.second {
            let [own, outputs] = b.dims();
            let turns = turns.get_or_insert_with(|| {
                // A projection without an adapter reads nothing.
                let silent = Tensor::<2>::zeros([rank, outputs], (&b.device(), b.dtype()));
                let mut turns = Turns::new(self.of, &silent);
                for index in 0..self.of {
                    turns.set(index, self.size, silent.clone());
                }
                turns
            });
            let rows = |count| Tensor::<2>::zeros([count, outputs], (&b.device(), b.dtype()));
            let wide = Tensor::cat(vec![rows(before), b.clone(), rows(rank - before - own)], 0);
            turns.set(index, self.size, wide);
            before += own;
        }
        let a = Tensor::cat(self.first.into_values().collect(), 1);
        let turns = turns.expect("an adapter has both factors");
        [saved(a, Layout::Transposed), turns.join()]
    }
}

struct Collect<'a, F> {
    path: Vec<String>,
    keys: &'a KeyMap,
    config: &'a AdapterConfig,
    whole: F,
    tensors: BTreeMap<String, Saved>,
    // By module, and by key of a whole parameter.
    joint: BTreeMap<String, Joint>,
    turns: BTreeMap<String, Turns>,
    // Full names of adapted modules, and keys of whole parameters.
    adapted: Vec<String>,
    kept: Vec<String>,
}

impl<F> Collect<'_, F> {
    fn key_of(&self, path: &str) -> (String, Layout) {
        let found = self.keys.key_of(path);
        let (key, layout) =
            found.unwrap_or_else(|| panic!("the key table has no rule for parameter `{path}`"));
        (self.keys.in_memory(&key), layout)
    }
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Collect<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let first = path.strip_suffix(".lora.a");
        if let Some(weight) = first.or_else(|| path.strip_suffix(".lora.b")) {
            let (key, layout) = self.key_of(weight);
            let module = key.strip_suffix(".weight").unwrap_or(&key).to_owned();
            if let Layout::Turns { index, of, size } = layout {
                let joint = self.joint.entry(module).or_insert_with(|| Joint {
                    of,
                    size,
                    first: BTreeMap::new(),
                    second: BTreeMap::new(),
                });
                let [rows, columns] = [param.base().dims()[0], param.base().dims()[D - 1]];
                let factor = param.base().reshape([rows, columns]);
                match first {
                    Some(_) => joint.first.insert(index, factor),
                    None => joint.second.insert(index, factor),
                };
                return;
            }
            let tensor = saved(param.base(), Layout::Transposed);
            let factor = match first {
                Some(_) => {
                    let rank = tensor.shape[0];
                    let expected = self.config.rank(&module);
                    assert_eq!(rank, expected, "the rank of `{module}`'s adapter");
                    self.adapted.push(module.clone());
                    "lora_A"
                }
                None => "lora_B",
            };
            let key = format!("{PREFIX}{module}.{factor}.weight");
            self.tensors.insert(key, tensor);
        } else if (self.whole)(&path) {
            let (key, layout) = self.key_of(&path);
            let (name, tensor) = (format!("{PREFIX}{key}"), param.base());
            self.kept.push(key);
            if let Layout::Turns { index, of, size } = layout {
                let turns = self.turns.entry(name);
                let turns = turns.or_insert_with(|| Turns::new(of, &tensor));
                turns.set(index, size, tensor);
            } else {
                self.tensors.insert(name, saved(tensor, layout));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::{
        module::{Lora, ModuleMapper, ParamGroup},
        tensor::{Device, Distribution, FloatDType},
    };

    use crate::{
        checkpoint::load_adapter,
        nn::{Activation, MlpConfig},
    };

    /// Draws the factors and the second projection anew.
    #[derive(Default)]
    struct Train(Vec<String>);

    impl ModuleMapper for Train {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.0[0] == "down_proj" || self.0.iter().any(|part| part == "lora") {
                false => param,
                true => param.map(|t| t.random_like(Distribution::Normal(0.0, 1.0))),
            }
        }
    }

    #[test]
    fn what_was_saved_loads_to_the_same_outputs() {
        let device = Device::default();
        let keys = KeyMap::new()
            .linear("model.fc1", "up_proj")
            .linear("model.fc2", "down_proj");
        let base = MlpConfig::new(6, 5, Activation::Gelu).init(&device);
        let lora =
            Lora::new(2, 3.0).set_param_group(ParamGroup::from_paths(vec!["up_proj.weight"]));
        let trained = base.clone().apply_lora(lora).map(&mut Train::default());
        let folder = tempfile::tempdir().unwrap();
        let config = AdapterConfig::new(2, 3.0, Vec::<String>::new());
        let whole = |path: &str| path.starts_with("down_proj.");
        save_adapter(&trained, &keys, folder.path(), config, whole).unwrap();
        let config = AdapterConfig::from_folder(folder.path()).unwrap();
        assert_eq!(config.target_modules, serde_json::json!(["model.fc1"]));
        assert_eq!(config.modules_to_save, Some(vec!["model.fc2".to_owned()]));
        let loaded = load_adapter(base, folder.path(), &keys, FloatDType::F32).unwrap();
        let x = Tensor::<3>::ones([1, 2, 6], &device);
        let expected = trained.forward(x.clone()).into_data();
        loaded.forward(x).into_data().assert_eq(&expected, true);
    }

    #[test]
    fn adapters_of_projections_that_are_one_in_the_file_become_one() {
        use crate::nn::{AttentionConfig, AttentionInput, DeviceMask};

        let device = Device::default();
        let keys = KeyMap::new()
            .turns("model.qkv", &["q_proj", "k_proj", "v_proj"], 3)
            .linear("model.dense", "o_proj");
        let base = AttentionConfig::new(6, 2).init(&device);
        // One of the three has none.
        let group = ParamGroup::from_paths(vec!["q_proj.weight", "v_proj.weight"]);
        let lora = Lora::new(2, 3.0).set_param_group(group);
        let trained = base.clone().apply_lora(lora).map(&mut Train::default());
        let folder = tempfile::tempdir().unwrap();
        let config = AdapterConfig::new(2, 3.0, Vec::<String>::new());
        save_adapter(&trained, &keys, folder.path(), config, |_| false).unwrap();
        let config = AdapterConfig::from_folder(folder.path()).unwrap();
        assert_eq!(config.target_modules, serde_json::json!(["model.qkv"]));
        assert_eq!(
            (config.rank("model.qkv"), config.scale("model.qkv")),
            (4, 1.5)
        );
        let loaded = load_adapter(base.clone(), folder.path(), &keys, FloatDType::F32).unwrap();
        let x = Tensor::<3>::random([1, 4, 6], Distribution::Default, &device);
        let mask = DeviceMask::none();
        let output = |layer: &crate::nn::Attention| {
            layer
                .forward(AttentionInput::new(x.clone(), &mask))
                .into_data()
        };
        let tolerance = burn::tensor::Tolerance::<f32>::absolute(1e-5);
        output(&loaded).assert_approx_eq(&output(&trained), tolerance);
        assert!(output(&base) != output(&trained));
    }

    #[test]
    fn modules_inside_others_are_left_out() {
        let of = |names: &[&str]| modules(&names.iter().map(|&n| n.into()).collect::<Vec<_>>());
        assert_eq!(
            of(&["m.p.l1.weight", "m.p.l1.bias", "head.weight"]),
            ["head", "m.p.l1"]
        );
        assert_eq!(
            of(&["m.p.query", "m.p.l1.weight", "m.p2.weight"]),
            ["m.p", "m.p2"]
        );
    }
}
