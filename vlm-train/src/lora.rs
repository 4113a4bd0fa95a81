use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::{Module, ModuleVisitor, Param, Reparameterizer},
    tensor::{DType, Distribution, Tensor},
};
use vlm_core::{Error, nn::LoraDropout};

/// Low-rank adapters ([Hu et al. 2021](https://arxiv.org/abs/2106.09685)).
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the two factors.
    pub rank: usize,
    /// The product of the factors counts `alpha / rank`.
    pub alpha: f64,
    /// Share of an adapter's input that is set to zero while it learns.
    pub dropout: f64,
    /// Which projections get an adapter; see [`LoraConfig::modules`].
    pub targets: Vec<String>,
    /// Paths of modules and parameters that learn beside them, whole, such as `projector`: peft's
    /// `modules_to_save`.
    pub whole: Vec<String>,
}

/// The target that stands for every projection of the language model but its head.
pub const ALL_LINEAR: &str = "all-linear";

/// Where parameters are that belong to no language model.
const ROOTS: [&str; 2] = ["encoder", "projector"];

impl LoraConfig {
    /// Paths of the weights that get an adapter.
    ///
    /// A target is a module's name or the end of its path, `*` standing for any one part of it:
    ///
    /// ```text
    /// q_proj                              every `q_proj` of the language model
    /// layers.0.self_attn.q_proj           one of them
    /// vision_tower.*.layers.*.mlp.fc1     those of the encoder, because the target says so
    /// all-linear                          every projection of the language model but its head
    /// ```
    ///
    /// `names` tells the other name of a weight, such as its key in a checkpoint, or that it is of no projection.
    ///
    /// # Errors
    ///
    /// When a target fits no projection.
    pub fn modules(
        &self,
        model: &impl Module,
        names: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, Error> {
        let projections = projections(model, names);
        let mut found = BTreeSet::new();
        for target in &self.targets {
            let fits = projections.iter().filter(|one| one.fits(target));
            let fits: Vec<String> = fits.map(|one| one.path.clone()).collect();
            if fits.is_empty() {
                return Err(no_match(target, &projections));
            }
            found.extend(fits);
        }
        if let Some(path) = found.iter().find(|path| self.is_whole(path)) {
            return Err(Error::Request(format!(
                "LoRA target: `{path}` is adapted and trained whole, expected one of the two"
            )));
        }
        Ok(found.into_iter().collect())
    }

    /// Whether the parameter at `path` learns whole.
    pub fn is_whole(&self, path: &str) -> bool {
        self.whole.iter().any(|whole| {
            let rest = path.strip_prefix(whole.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Attaches fresh adapters to the weights at `paths`: as in peft, the first factor is drawn from
    /// U(±1/√in) by the device's random numbers, and the second is zero.
    pub(crate) fn attach<M: Module>(&self, model: M, paths: Vec<String>) -> M {
        model.apply_reparameterization(Attach {
            config: self,
            paths: paths.into_iter().collect(),
        })
    }
}

fn no_match(target: &str, projections: &[Projection]) -> Error {
    let names: BTreeSet<&str> = projections
        .iter()
        .filter(|one| one.root.is_none())
        .filter_map(|one| {
            one.alias
                .as_deref()
                .unwrap_or(&one.path)
                .rsplit('.')
                .find(|part| *part != "weight")
        })
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    Error::Request(format!(
        "LoRA target `{target}` fits no projection; the language model has {}",
        names.join(", ")
    ))
}

/// A matrix that can be adapted.
struct Projection {
    // Path of the weight.
    path: String,
    // Its other name.
    alias: Option<String>,
    // Index in ROOTS, and parts of the other name that all of that root have in common.
    root: Option<(usize, usize)>,
}

impl Projection {
    fn fits(&self, target: &str) -> bool {
        if target == ALL_LINEAR {
            return self.root.is_none() && !self.path.ends_with("lm_head.weight");
        }
        let ours = self.root.map(|_| 1);
        let theirs = self.root.map(|(_, common)| common);
        ends_with(&self.path, target, ours)
            || self
                .alias
                .as_ref()
                .is_some_and(|alias| ends_with(alias, target, theirs))
    }
}

/// Whether the module of a weight ends with `target`; with `root`, the target has to reach into the first so
/// many parts.
fn ends_with(weight: &str, target: &str, root: Option<usize>) -> bool {
    let module = weight.strip_suffix(".weight").unwrap_or(weight);
    let module: Vec<&str> = module.split('.').collect();
    let target: Vec<&str> = target.split('.').collect();
    let Some(before) = module.len().checked_sub(target.len()) else {
        return false;
    };
    let same = |(a, b): (&&str, &&str)| *b == "*" || a == b;
    module[before..].iter().zip(&target).all(same) && root.is_none_or(|root| before < root)
}

fn projections(model: &impl Module, names: impl Fn(&str) -> Option<String>) -> Vec<Projection> {
    let mut weights = Weights::default();
    model.visit(&mut weights);
    let aliases = |path: &String| Some((path.clone(), names(path)?));
    let named: BTreeMap<String, String> = weights.found.iter().filter_map(aliases).collect();
    let common = ROOTS.map(|root| {
        let of_root = named
            .iter()
            .filter(|(path, _)| path.split('.').next() == Some(root));
        let parts = of_root.map(|(_, alias)| alias.split('.').collect::<Vec<_>>());
        let common = parts.reduce(|a, b| {
            let same = a.into_iter().zip(b).take_while(|(a, b)| a == b);
            same.map(|(part, _)| part).collect()
        });
        // A single weight has all of its name in common with itself.
        common.map_or(0, |parts| {
            parts.iter().filter(|part| **part != "weight").count()
        })
    });
    let projection = |(path, alias): (String, String)| {
        let root = ROOTS
            .iter()
            .position(|root| path.split('.').next() == Some(*root));
        Projection {
            root: root.map(|root| (root, common[root])),
            alias: (alias != path).then_some(alias),
            path,
        }
    };
    named.into_iter().map(projection).collect()
}

/// Paths of all matrices.
#[derive(Default)]
struct Weights {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if D == 2 && path.ends_with(".weight") {
            self.found.push(path);
        }
    }
}

struct Attach<'a> {
    config: &'a LoraConfig,
    paths: BTreeSet<String>,
}

impl Reparameterizer for Attach<'_> {
    type Reparam = LoraDropout;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraDropout>) {
        if !self.paths.contains(path) {
            return (param, None);
        }
        let shape = param.lazy_shape();
        let (rows, columns, rank) = (shape[0], shape[1], self.config.rank);
        let device = param.lazy_device().inner();
        let options = || (&device, DType::F32);
        let bound = 1.0 / (rows as f64).sqrt();
        let a = Tensor::random(
            [rows, rank],
            Distribution::Uniform(-bound, bound),
            options(),
        );
        let adapter = LoraDropout {
            a: Param::from_tensor(a),
            b: Param::from_tensor(Tensor::zeros([rank, columns], options())),
            scale: self.config.alpha / rank as f64,
            dropout: self.config.dropout,
        };
        (param, Some(adapter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(target: &str, path: &str, alias: &str) -> bool {
        let root = ROOTS.iter().position(|root| path.starts_with(root));
        Projection {
            path: path.to_owned(),
            alias: Some(alias.to_owned()),
            // `model.vision_tower` is what the aliases of the encoder have in common.
            root: root.map(|root| (root, 2)),
        }
        .fits(target)
    }

    #[test]
    fn names_are_the_language_models_and_paths_are_anybodys() {
        let text = |target| {
            let alias = "model.language_model.layers.0.self_attn.out_proj.weight";
            fits(target, "decoder.layers.0.self_attn.o_proj.weight", alias)
        };
        let tower = |target| {
            let alias = "model.vision_tower.encoder.layers.0.self_attn.out_proj.weight";
            fits(target, "encoder.layers.0.self_attn.o_proj.weight", alias)
        };
        assert!(text("o_proj") && text("out_proj") && text("self_attn.out_proj"));
        assert!(!text("proj") && !text("q_proj"));
        assert!(!tower("o_proj") && !tower("self_attn.out_proj"));
        assert!(!tower("layers.*.self_attn.out_proj"));
        assert!(tower("vision_tower.encoder.layers.0.self_attn.out_proj"));
        assert!(tower("vision_tower.encoder.layers.*.self_attn.out_proj"));
        assert!(tower("encoder.layers.0.self_attn.o_proj"));
        assert!(text("all-linear") && !tower("all-linear"));
        assert!(!fits(
            "all-linear",
            "decoder.lm_head.weight",
            "lm_head.weight"
        ));
        assert!(fits("lm_head", "decoder.lm_head.weight", "lm_head.weight"));
    }
}
