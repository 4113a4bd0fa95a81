//! Which instructions the kernels use.

use std::sync::OnceLock;

/// Instructions that the kernels may use, from plain to special.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// burn's own operations: no kernel of this crate runs.
    Default,
    /// What every processor of the target has.
    Portable,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// And BF16 and VNNI.
    Avx512Bf16,
}

const PATHS: [(&str, Path); 5] = [
    ("default", Path::Default),
    ("portable", Path::Portable),
    ("avx2", Path::Avx2),
    ("avx512", Path::Avx512),
    ("avx512bf16", Path::Avx512Bf16),
];

impl Path {
    /// The best that this processor has, or what the variable `VLM_KERNELS` names: `default`, `portable`,
    /// `avx2`, `avx512` or `avx512bf16`. The variable is read once.
    ///
    /// # Panics
    ///
    /// When [`from_variable`](Self::from_variable) is an error.
    pub fn current() -> Self {
        static PATH: OnceLock<Path> = OnceLock::new();
        *PATH.get_or_init(|| Self::from_variable().unwrap_or_else(|message| panic!("{message}")))
    }

    /// As [`current`](Self::current), read anew: for programs that check it before they begin.
    ///
    /// # Errors
    ///
    /// When the variable names something else, or what this processor does not have.
    pub fn from_variable() -> Result<Self, String> {
        match std::env::var("VLM_KERNELS") {
            Ok(name) => Self::named(&name),
            Err(_) => Ok(Self::best()),
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        let known = PATHS.iter().find(|(known, _)| *known == name);
        let (_, path) = known.ok_or_else(|| {
            let names: Vec<&str> = PATHS.iter().map(|(name, _)| *name).collect();
            format!("VLM_KERNELS={name}: expected one of {}", names.join(", "))
        })?;
        match *path <= Self::best() {
            true => Ok(*path),
            false => Err(format!("VLM_KERNELS={name}: this processor lacks it")),
        }
    }

    /// The best that this processor has.
    #[cfg(target_arch = "x86_64")]
    pub fn best() -> Self {
        use std::arch::is_x86_feature_detected as has;
        let avx2 = has!("avx2") && has!("fma") && has!("f16c");
        let avx512 =
            avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        match () {
            () if avx512 && has!("avx512bf16") && has!("avx512vnni") => Self::Avx512Bf16,
            () if avx512 => Self::Avx512,
            () if avx2 => Self::Avx2,
            () => Self::Portable,
        }
    }

    /// The best that this processor has.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn best() -> Self {
        Self::Portable
    }

    /// All paths that run here, `Default` left out: for tests.
    pub fn all() -> Vec<Self> {
        let paths = PATHS.iter().map(|(_, path)| *path);
        paths
            .filter(|path| *path > Self::Default && *path <= Self::best())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_lists_the_right_ones() {
        let error = Path::named("sse").unwrap_err();
        assert!(error.contains("default, portable, avx2"), "{error}");
        assert_eq!(Path::named("portable"), Ok(Path::Portable));
    }
}
