//! Folders that a run leaves behind, each there only once it is whole.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use vlm_core::Error;

/// Fills a folder that appears under its name only once all of it is on the disk: written beside its place,
/// synced, renamed. What stood there before is replaced.
///
/// # Errors
///
/// When `write` fails or a file cannot be written; then nothing has appeared.
pub fn publish<E: From<Error>>(
    folder: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let parent = folder.parent().unwrap_or(Path::new(""));
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let building = parent.join(format!("{BUILDING}{name}"));
    clear(&building)?;
    fs::create_dir_all(&building).map_err(Error::io(&building))?;
    write(&building)?;
    sync(&building)?;
    clear(folder)?;
    fs::rename(&building, folder).map_err(Error::io(folder))?;
    sync_one(parent)?;
    Ok(())
}

/// Begins the name of a folder that is being written.
const BUILDING: &str = ".building-";
/// Begins the name of a checkpoint's folder, as transformers has it.
const CHECKPOINT: &str = "checkpoint-";

/// The folder of a checkpoint after so many steps.
pub fn checkpoint(output: &Path, step: usize) -> PathBuf {
    output.join(format!("{CHECKPOINT}{step}"))
}

/// Steps and folders of the complete checkpoints of a run, first to last.
pub fn checkpoints(output: &Path) -> Vec<(usize, PathBuf)> {
    let entries = fs::read_dir(output).into_iter().flatten().flatten();
    let checkpoints = entries.filter_map(|entry| {
        let name = entry.file_name();
        let step = name.to_str()?.strip_prefix(CHECKPOINT)?.parse().ok()?;
        Some((step, entry.path()))
    });
    let mut checkpoints: Vec<(usize, PathBuf)> = checkpoints.collect();
    checkpoints.sort();
    checkpoints
}

/// Publishes the files of a checkpoint, without what only a run needs to go on, in the output folder itself.
///
/// # Errors
///
/// When a file cannot be written.
pub fn release(checkpoint: &Path, output: &Path) -> Result<(), Error> {
    let building = output.join(format!("{BUILDING}output"));
    clear(&building)?;
    fs::create_dir_all(&building).map_err(Error::io(&building))?;
    let names = |folder: &Path| -> Result<Vec<std::ffi::OsString>, Error> {
        let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
        let names = entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.file_name()));
        names.collect()
    };
    for name in names(checkpoint)? {
        let from = checkpoint.join(&name);
        if !crate::state::FILES.iter().any(|own| name == *own) {
            fs::copy(&from, building.join(&name)).map_err(Error::io(&from))?;
        }
    }
    sync(&building)?;
    for name in names(&building)? {
        let to = output.join(&name);
        fs::rename(building.join(&name), &to).map_err(Error::io(&to))?;
    }
    clear(&building)?;
    sync_one(output)
}

/// Removes checkpoints of other steps, and what a killed run left half done.
///
/// # Errors
///
/// When a folder cannot be removed.
pub fn keep(output: &Path, steps: &[usize]) -> Result<(), Error> {
    for (step, folder) in checkpoints(output) {
        if !steps.contains(&step) {
            clear(&folder)?;
        }
    }
    for entry in fs::read_dir(output).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(BUILDING) {
            clear(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a folder; under another name first, so that it never stands there half removed.
fn clear(folder: &Path) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let doomed = match name.starts_with(BUILDING) {
        true => folder.to_path_buf(),
        false => folder.with_file_name(format!("{BUILDING}{name}-old")),
    };
    if doomed != folder {
        clear(&doomed)?;
        fs::rename(folder, &doomed).map_err(Error::io(folder))?;
    }
    fs::remove_dir_all(&doomed).map_err(Error::io(&doomed))
}

fn sync(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        match path.is_dir() {
            true => sync(&path)?,
            false => sync_one(&path)?,
        }
    }
    sync_one(folder)
}

/// Has the system write a file, or a folder's list of names, to the disk.
fn sync_one(path: &Path) -> Result<(), Error> {
    // Windows opens no folders.
    if cfg!(windows) && path.is_dir() {
        return Ok(());
    }
    let file = File::open(path).map_err(Error::io(path))?;
    file.sync_all().map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, text: &str) -> Result<(), Error> {
        fs::write(folder.join("file"), text).map_err(Error::io(folder))
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let output = tempfile::tempdir().unwrap();
        let folder = checkpoint(output.path(), 3);
        let failed = publish::<Error>(&folder, |building| {
            write(building, "half")?;
            assert!(!folder.exists());
            Err(Error::Request("no".to_owned()))
        });
        assert!(failed.is_err() && checkpoints(output.path()).is_empty());
        publish(&folder, |building| write(building, "one")).unwrap();
        publish(&folder, |building| write(building, "two")).unwrap();
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "two");
    }

    #[test]
    fn only_what_is_kept_stays() {
        let output = tempfile::tempdir().unwrap();
        for step in [2, 10, 4] {
            publish(&checkpoint(output.path(), step), |folder| {
                write(folder, "x")
            })
            .unwrap();
        }
        fs::create_dir(output.path().join(".building-checkpoint-12")).unwrap();
        fs::write(output.path().join("metrics.jsonl"), "").unwrap();
        let steps = || -> Vec<usize> {
            let found = checkpoints(output.path());
            found.into_iter().map(|(step, _)| step).collect()
        };
        assert_eq!(steps(), [2, 4, 10]);
        keep(output.path(), &[10, 2]).unwrap();
        assert_eq!(steps(), [2, 10]);
        assert_eq!(fs::read_dir(output.path()).unwrap().count(), 3);
    }
}
