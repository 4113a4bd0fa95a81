use burn::{
    module::{
        Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault,
        ModuleMapper, ModuleVisitor,
    },
    tensor::{Device, Tensor},
};
use vlm_core::{ImageBatch, VisionLanguageModel, VlmInput, nn::KvCache};
use vlm_text::CausalLm;

use crate::{idefics3::Idefics3, kosmos2::Kosmos2, llava::Llava};

/// Any model that can be loaded from files.
///
/// It is transparent: parameters have the paths that they have in the model inside, so adapters, freeze groups
/// and key tables need not know of it.
// A program holds one or two of them, and boxes would show in every pattern.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyVlm {
    /// LLaVA-1.5 and LLaVA-NeXT.
    Llava(Llava),
    /// Kosmos-2.
    Kosmos2(Kosmos2),
    /// Idefics3, SmolVLM, SmolVLM2.
    Idefics3(Idefics3),
    /// A language model alone.
    Text(CausalLm),
}

/// Applies an expression to the model inside; the second form wraps the result again.
macro_rules! inside {
    ($any:expr, $model:ident => $result:expr) => {
        match $any {
            AnyVlm::Llava($model) => $result,
            AnyVlm::Kosmos2($model) => $result,
            AnyVlm::Idefics3($model) => $result,
            AnyVlm::Text($model) => $result,
        }
    };
    ($any:expr, $model:ident -> $result:expr) => {
        match $any {
            AnyVlm::Llava($model) => AnyVlm::Llava($result),
            AnyVlm::Kosmos2($model) => AnyVlm::Kosmos2($result),
            AnyVlm::Idefics3($model) => AnyVlm::Idefics3($result),
            AnyVlm::Text($model) => AnyVlm::Text($result),
        }
    };
}

// Written by hand: burn's derive would put the variant's name into every parameter's path.
impl Module for AnyVlm {
    fn collect_devices(&self, devices: Devices) -> Devices {
        inside!(self, model => model.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        inside!(self, model -> model.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        inside!(self, model -> model.to_device(device))
    }

    fn train(self) -> Self {
        inside!(self, model -> model.train())
    }

    fn valid(&self) -> Self {
        inside!(self, model -> model.valid())
    }

    fn materialize(self) -> Self {
        inside!(self, model -> model.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        inside!(self, model => model.visit(visitor))
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        inside!(self, model -> model.map(mapper))
    }
}

impl ModuleDisplayDefault for AnyVlm {
    fn content(&self, content: Content) -> Option<Content> {
        inside!(self, model => model.content(content))
    }
}

impl ModuleDisplay for AnyVlm {
    fn format(&self, settings: DisplaySettings) -> String {
        inside!(self, model => model.format(settings))
    }
}

impl std::fmt::Display for AnyVlm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        inside!(self, model => model.fmt(f))
    }
}

impl VisionLanguageModel for AnyVlm {
    fn encode_images(&self, images: &ImageBatch) -> Tensor<3> {
        inside!(self, model => model.encode_images(images))
    }

    fn image_features(&self, images: &ImageBatch) -> Option<Tensor<3>> {
        inside!(self, model => model.image_features(images))
    }

    fn forward(&self, input: VlmInput, cache: Option<&mut KvCache>) -> Tensor<3> {
        inside!(self, model => VisionLanguageModel::forward(model, input, cache))
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        inside!(self, model => VisionLanguageModel::logits(model, hidden))
    }
}

impl From<Llava> for AnyVlm {
    fn from(model: Llava) -> Self {
        Self::Llava(model)
    }
}

impl From<Kosmos2> for AnyVlm {
    fn from(model: Kosmos2) -> Self {
        Self::Kosmos2(model)
    }
}

impl From<Idefics3> for AnyVlm {
    fn from(model: Idefics3) -> Self {
        Self::Idefics3(model)
    }
}

impl From<CausalLm> for AnyVlm {
    fn from(model: CausalLm) -> Self {
        Self::Text(model)
    }
}
