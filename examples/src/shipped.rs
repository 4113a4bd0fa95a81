//! The model that ships with the programs, wherever they were built and are started.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use vlm::core::Error;

macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../world/model/", $name)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 7] = files!(
    "config.json" "generation_config.json" "processor_config.json" "tokenizer.json"
    "tokenizer_config.json" "chat_template.jinja" "model.safetensors"
);

/// Its folder: the repository's own or, where that is gone, one in the user's cache that is written when it is
/// needed.
///
/// # Errors
///
/// When the files cannot be written.
pub fn folder() -> Result<PathBuf, Error> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("world/model");
    if own.join("model.safetensors").is_file() {
        return Ok(own);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    unpacked(&cache.unwrap_or_else(std::env::temp_dir).join("vlm"))
}

/// The files in a folder of their own within `cache`; each version has its own, and none is ever half written.
fn unpacked(cache: &Path) -> Result<PathBuf, Error> {
    let folder = cache.join(format!("picture-world-{:016x}", checksum()));
    if folder.is_dir() {
        return Ok(folder);
    }
    let half = cache.join(format!("picture-world-{}", std::process::id()));
    fs::create_dir_all(&half).map_err(Error::io(&half))?;
    for (name, bytes) in FILES {
        let path = half.join(name);
        fs::write(&path, bytes).map_err(Error::io(&path))?;
    }
    match fs::rename(&half, &folder) {
        // Another program was faster.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&half).map_err(Error::io(&half))?,
        renamed => renamed.map_err(Error::io(&folder))?,
    }
    Ok(folder)
}

fn checksum() -> u64 {
    let mut hasher = DefaultHasher::new();
    FILES.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, FloatDType};

    use super::*;

    #[test]
    fn what_was_unpacked_answers_like_the_repository_s_own() {
        let cache = tempfile::tempdir().unwrap();
        let copy = unpacked(cache.path()).unwrap();
        assert_eq!(unpacked(cache.path()).unwrap(), copy);
        let left = fs::read_dir(cache.path()).unwrap().count();
        assert_eq!(left, 1, "half a folder is left");
        let picture = crate::world::World::new(crate::world::Split::HeldOut, 0)
            .example(0)
            .image;
        let answers = [copy, folder().unwrap()].map(|folder| {
            let model =
                vlm::Pretrained::load(&folder, FloatDType::F32, &Device::default()).unwrap();
            model
                .ask("What do you see?", std::slice::from_ref(&picture), 16)
                .unwrap()
        });
        assert_eq!(answers[0], answers[1]);
    }
}
