use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Int, Tensor},
};

use crate::{gradients::on, selection::leaf};

/// A copy of a model on another device, which takes its share of a step's micro-batches.
///
/// burn's `multi` strategy of burn-train does this for its own loop; ours needs the gradients of all devices
/// before it clips. What is frozen is copied once, and shared between devices that are the same.
#[derive(Debug)]
pub(crate) struct Replica<M> {
    pub model: M,
    pub device: Device,
    pub learning: Device,
}

impl<M: Module> Replica<M> {
    pub fn new(model: &M, device: &Device, learning: &Device) -> Self {
        let device = device.clone().inner();
        let mut learns = device.clone().autodiff();
        if learning.gradient_checkpointing_strategy()
            != device.clone().autodiff().gradient_checkpointing_strategy()
        {
            learns = learns.gradient_checkpointing();
        }
        let model = model.clone().map(&mut Move {
            device: &device,
            learning: &learns,
        });
        Self {
            model,
            device,
            learning: learns,
        }
    }

    /// Takes over what the first device has learned.
    pub fn follow(&mut self, learned: &Learned) {
        let mut follow = Follow {
            path: Vec::new(),
            learned,
            replica: (&self.device, &self.learning),
        };
        self.model = self.model.clone().map(&mut follow);
    }
}

/// The parameters that learn, flattened, by path.
#[derive(Default)]
pub(crate) struct Learned {
    path: Vec<String>,
    by_path: BTreeMap<String, Tensor<1>>,
    /// The device of the first.
    pub device: Option<Device>,
}

impl Learned {
    pub fn of(model: &impl Module) -> Self {
        let mut learned = Self::default();
        model.visit(&mut learned);
        learned
    }
}

impl ModuleVisitor for Learned {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.base();
        if tensor.is_autodiff() {
            self.device.get_or_insert_with(|| tensor.device());
            let flat = tensor.inner().flatten(0, D - 1);
            self.by_path.insert(self.path.join("."), flat);
        }
    }
}

struct Move<'a> {
    device: &'a Device,
    learning: &'a Device,
}

impl ModuleMapper for Move<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let learns = tensor.is_autodiff();
            let tensor = on(tensor.inner(), self.device);
            match learns {
                true => leaf(tensor, self.learning),
                false => tensor,
            }
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param.map(|tensor| match tensor.device() == *self.device {
            true => tensor,
            false => Tensor::from_data(tensor.into_data(), self.device),
        })
    }
}

struct Follow<'a> {
    path: Vec<String>,
    learned: &'a Learned,
    replica: (&'a Device, &'a Device),
}

impl ModuleMapper for Follow<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(learned) = self.learned.by_path.get(&self.path.join(".")) else {
            return param;
        };
        let (device, learning) = self.replica;
        param.map(|tensor| {
            let learned = on(learned.clone(), device).reshape(tensor.shape());
            leaf(learned, learning)
        })
    }
}
