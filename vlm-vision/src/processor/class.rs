//! The image processor classes of transformers that this pipeline covers, and their defaults.

use vlm_core::{Error, Size};

use super::size_rule::SizeRule;

/// A class of transformers, which decides what a key that is left out means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessorClass {
    /// `CLIPImageProcessor`: shorter side to 224, centre crop, CLIP's mean and deviation.
    Clip,
    /// `LlavaImageProcessor`: as CLIP's; `do_pad` makes the picture square first.
    Llava,
    /// `SiglipImageProcessor`: exactly 224 × 224, no crop, mean and deviation 0.5.
    Siglip,
}

/// What a class takes for keys that are left out.
pub(super) struct Defaults {
    pub size: SizeRule,
    pub crop: Option<Size>,
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

impl ProcessorClass {
    /// The class of a name under `image_processor_type`, or under `feature_extractor_type` in old files.
    ///
    /// The endings `Fast` and `Pil` choose a backend of transformers; here there is one.
    ///
    /// # Errors
    ///
    /// When the name is of another class.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        match family(name) {
            Some("CLIP") => return Ok(Self::Clip),
            Some("Llava") => return Ok(Self::Llava),
            Some("Siglip") => return Ok(Self::Siglip),
            _ => {}
        }
        let known = "expected CLIPImageProcessor, LlavaImageProcessor or SiglipImageProcessor";
        Err(Error::key(
            "image_processor_type",
            format!("{known}, found {name}"),
        ))
    }

    /// The name in transformers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clip => "CLIPImageProcessor",
            Self::Llava => "LlavaImageProcessor",
            Self::Siglip => "SiglipImageProcessor",
        }
    }

    pub(super) const fn defaults(self) -> Defaults {
        match self {
            Self::Clip | Self::Llava => Defaults {
                size: SizeRule::ShortestEdge(224),
                crop: Some(Size::new(224, 224)),
                mean: [0.48145466, 0.4578275, 0.40821073],
                std: [0.26862954, 0.26130258, 0.27577711],
            },
            Self::Siglip => Defaults {
                size: SizeRule::Exact(Size::new(224, 224)),
                crop: None,
                mean: [0.5; 3],
                std: [0.5; 3],
            },
        }
    }
}

/// The part of a class's name that says what it does: `CLIP` of `CLIPImageProcessorFast`.
pub(super) fn family(name: &str) -> Option<&str> {
    let class = name
        .strip_suffix("Fast")
        .or(name.strip_suffix("Pil"))
        .unwrap_or(name);
    class
        .strip_suffix("ImageProcessor")
        .or(class.strip_suffix("FeatureExtractor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_backends() {
        for name in [
            "CLIPImageProcessor",
            "CLIPImageProcessorFast",
            "CLIPImageProcessorPil",
            "CLIPFeatureExtractor",
        ] {
            assert_eq!(
                ProcessorClass::from_name(name).unwrap(),
                ProcessorClass::Clip
            );
        }
        for class in [
            ProcessorClass::Clip,
            ProcessorClass::Llava,
            ProcessorClass::Siglip,
        ] {
            assert_eq!(ProcessorClass::from_name(class.name()).unwrap(), class);
        }
    }

    #[test]
    fn other_classes_are_refused_by_name() {
        for name in ["LlavaNextImageProcessor", "CLIP", "", "ImageProcessor"] {
            let error = ProcessorClass::from_name(name).unwrap_err().to_string();
            assert!(error.ends_with(&format!("found {name}")), "{error}");
        }
    }
}
