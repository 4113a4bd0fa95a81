//! What trains and what stays.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, FloatDType, Tensor},
};
use vlm_core::Error;

use crate::LoraConfig;

/// Which parameters learn.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// The projector alone: stage 1 of [LLaVA](https://arxiv.org/abs/2310.03744).
    Projector,
    /// All but the image encoder: its stage 2.
    ProjectorAndDecoder,
    /// Everything.
    All,
    /// Low-rank adapters on some matrices, and what is to learn whole beside them.
    Lora(LoraConfig),
}

impl Selection {
    /// Whether the parameter at `path` learns.
    pub fn trains(&self, path: &str) -> bool {
        match self {
            Self::Projector => path.starts_with("projector."),
            Self::ProjectorAndDecoder => !path.starts_with("encoder."),
            Self::All => true,
            Self::Lora(config) => is_adapter(path) || config.is_whole(path),
        }
    }

    /// Puts what learns on the device with autodiff, in 32 bits, and everything else on the one without, so that
    /// frozen parts neither keep activations nor get gradients. Adapters are attached where there are none yet,
    /// from the device's random numbers.
    ///
    /// # Errors
    ///
    /// When a target of the adapters fits nothing, or nothing is selected; see [`summary`].
    pub fn apply<M: Module>(&self, mut model: M, gradient_checkpointing: bool) -> Result<M, Error> {
        if let Self::Lora(config) = self
            && !has_adapters(&model)
        {
            let paths = config.modules(&model, |path| Some(path.to_owned()))?;
            model = config.attach(model, paths);
        }
        let mut split = Split {
            path: Vec::new(),
            selection: self,
            gradient_checkpointing,
            count: 0,
        };
        let model = model.map(&mut split);
        match split.count {
            0 => Err(Error::Request(format!(
                "nothing to train: the model has no parameter that {self:?} selects"
            ))),
            _ => Ok(model),
        }
    }
}

/// Whether a module has low-rank adapters.
pub fn has_adapters(model: &impl Module) -> bool {
    let rows = summary(model, &Selection::All);
    rows.iter().any(|row| is_adapter(&row.path))
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
            let tensor = tensor.cast(FloatDType::F32);
            let mut device = tensor.device().autodiff();
            if checkpointing {
                device = device.gradient_checkpointing();
            }
            leaf(tensor, &device)
        });
        param.set_require_grad(trains)
    }
}
