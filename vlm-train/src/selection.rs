//! What trains and what stays.

use burn::{
    module::{Lora, Module, ModuleMapper, ModuleVisitor, Param, ParamGroup},
    tensor::{Device, Tensor},
};

/// Which parameters learn.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// The projector alone: stage 1 of [LLaVA](https://arxiv.org/abs/2310.03744).
    Projector,
    /// All but the image encoder: its stage 2.
    ProjectorAndDecoder,
    /// Everything.
    All,
    /// Low-rank adapters on some matrices, and nothing else ([Hu et al. 2021](https://arxiv.org/abs/2106.09685)).
    Lora(LoraConfig),
}

/// Low-rank adapters.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the two factors.
    pub rank: usize,
    /// The product of the factors counts `alpha / rank`.
    pub alpha: f64,
    /// Modules that get an adapter: names such as `q_proj`, of the language model; or paths such as
    /// `encoder.layers.0.self_attn.q_proj`, from the model's root.
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// Whether the matrix at `path` (ending in `.weight`) gets an adapter.
    pub fn adapts(&self, path: &str) -> bool {
        let Some(module) = path.strip_suffix(".weight") else {
            return false;
        };
        self.targets.iter().any(|target| {
            let ends = module
                .strip_suffix(target.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            let named_elsewhere =
                module.starts_with("encoder.") || module.starts_with("projector.");
            ends && (!named_elsewhere || target.contains('.') || target == module)
        })
    }
}

impl Selection {
    /// Whether the parameter at `path` learns.
    pub fn trains(&self, path: &str) -> bool {
        match self {
            Self::Projector => path.starts_with("projector."),
            Self::ProjectorAndDecoder => !path.starts_with("encoder."),
            Self::All => true,
            Self::Lora(_) => is_adapter(path),
        }
    }

    /// Puts what learns on the device with autodiff and everything else on the one without, so that frozen
    /// parts neither keep activations nor get gradients. Adapters are attached where there are none yet, from
    /// the device's random numbers.
    ///
    /// # Panics
    ///
    /// When no parameter is selected; see [`summary`].
    pub fn apply<M: Module>(&self, mut model: M, gradient_checkpointing: bool) -> M {
        if let Self::Lora(config) = self
            && !summary(&model, self)
                .iter()
                .any(|row| is_adapter(&row.path))
        {
            let mut targets = Targets {
                path: Vec::new(),
                config,
                found: Vec::new(),
            };
            model.visit(&mut targets);
            let bases = ParamGroup::from_paths(targets.found);
            model = model.apply_lora(Lora::new(config.rank, config.alpha).set_param_group(bases));
            model = model.map(&mut KaimingUniform { path: Vec::new() });
        }
        let mut split = Split {
            path: Vec::new(),
            selection: self,
            gradient_checkpointing,
            count: 0,
        };
        let model = model.map(&mut split);
        assert!(split.count > 0, "no parameter is selected for training");
        model
    }
}

/// Whether a parameter is a factor of a low-rank adapter.
pub fn is_adapter(path: &str) -> bool {
    path.ends_with(".lora.a") || path.ends_with(".lora.b")
}

/// `tensor` as a leaf whose gradient is kept.
pub(crate) fn leaf<const D: usize>(tensor: Tensor<D>, like: &Device) -> Tensor<D> {
    let tensor = tensor.autodiff();
    let tensor = match like.gradient_checkpointing_strategy() {
        Some(strategy) => tensor.with_gradient_checkpointing_strategy(strategy),
        None => tensor,
    };
    tensor.require_grad()
}

/// One line of the table of parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterRow {
    /// Path of the parameter.
    pub path: String,
    /// Number of values.
    pub values: usize,
    /// Whether it learns.
    pub trains: bool,
}

/// Every parameter with its size and whether it learns.
pub fn summary(model: &impl Module, selection: &Selection) -> Vec<ParameterRow> {
    let mut rows = Rows {
        path: Vec::new(),
        selection,
        rows: Vec::new(),
    };
    model.visit(&mut rows);
    rows.rows
}

struct Rows<'a> {
    path: Vec<String>,
    selection: &'a Selection,
    rows: Vec<ParameterRow>,
}

impl ModuleVisitor for Rows<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        self.rows.push(ParameterRow {
            trains: self.selection.trains(&path),
            values: param.lazy_shape().num_elements(),
            path,
        });
    }
}

struct Targets<'a> {
    path: Vec<String>,
    config: &'a LoraConfig,
    found: Vec<String>,
}

impl ModuleVisitor for Targets<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if D == 2 && self.config.adapts(&path) {
            self.found.push(path);
        }
    }
}

/// Redraws the first factors as peft does: torch's `kaiming_uniform_(a=sqrt(5))`, which is U(±1/√in).
struct KaimingUniform {
    path: Vec<String>,
}

impl ModuleMapper for KaimingUniform {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.path.join(".").ends_with(".lora.a") {
            return param;
        }
        param.map(|a| {
            let bound = 1.0 / (a.dims()[0] as f64).sqrt();
            a.random_like(burn::tensor::Distribution::Uniform(-bound, bound))
        })
    }
}

struct Split<'a> {
    path: Vec<String>,
    selection: &'a Selection,
    gradient_checkpointing: bool,
    count: usize,
}

impl ModuleMapper for Split<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trains = self.selection.trains(&self.path.join("."));
        self.count += usize::from(trains);
        let checkpointing = self.gradient_checkpointing;
        let param = param.map(|tensor| {
            let tensor = tensor.inner();
            if !trains {
                return tensor;
            }
            let mut device = tensor.device().autodiff();
            if checkpointing {
                device = device.gradient_checkpointing();
            }
            leaf(tensor, &device)
        });
        param.set_require_grad(trains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_language_models_and_paths_are_anybodys() {
        let config = |target: &str| LoraConfig {
            rank: 2,
            alpha: 4.0,
            targets: vec![target.to_owned()],
        };
        let text = "decoder.layers.0.self_attn.q_proj.weight";
        let tower = "encoder.layers.0.self_attn.q_proj.weight";
        assert!(config("q_proj").adapts(text) && !config("q_proj").adapts(tower));
        assert!(config("encoder.layers.0.self_attn.q_proj").adapts(tower));
        assert!(!config("proj").adapts(text));
        assert!(!config("q_proj").adapts("decoder.layers.0.self_attn.q_proj.bias"));
    }
}
