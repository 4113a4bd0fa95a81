use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hf_hub::{
    HFClient, HFError, RepoTypeModel,
    progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler},
    split_id,
};

use crate::Error;

/// What a download tells: bytes so far and bytes in all.
pub type DownloadProgress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// The files of a model that are read.
const FILES: [&str; 3] = ["*.json", "*.jinja", "*.safetensors"];
/// Other forms of the same weights, and what other programs need.
const OTHERS: [&str; 4] = ["consolidated*", "original/*", "onnx/*", "openvino/*"];

/// Downloads a model of the Hugging Face hub into the hub's usual cache and returns its folder; what is there
/// already is not downloaded again.
///
/// `HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and the like work as for the Python library; with `HF_HUB_OFFLINE` set
/// nothing but the cache is asked.
///
/// # Errors
///
/// When the model does not exist, is not for this token, or the hub is out of reach.
pub fn download(id: &str, progress: Option<DownloadProgress>) -> Result<PathBuf, Error> {
    let error = |source: HFError| Error::Hub {
        id: id.to_owned(),
        source: Box::new(source),
    };
    let offline = std::env::var("HF_HUB_OFFLINE")
        .is_ok_and(|value| matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"));
    let client = HFClient::builder().build_sync().map_err(error)?;
    let (owner, name) = split_id(id);
    let patterns = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect();
    client
        .model(owner, name)
        .snapshot_download()
        .allow_patterns(patterns(&FILES))
        .ignore_patterns(patterns(&OTHERS))
        .local_files_only(offline)
        .maybe_progress(progress.map(|tell| Progress::new(Tell::new(tell))))
        .send()
        .map_err(error)
}

/// Files of a run that are not part of what it has trained.
const OF_THE_RUN: [&str; 2] = ["checkpoint-*", ".building-*"];

/// Uploads a folder into a model's repository on the Hugging Face hub as one commit, and tells where that is; a
/// repository that is missing is made.
///
/// # Errors
///
/// When the token may not write there, or the hub is out of reach.
pub fn upload(id: &str, folder: &Path, message: &str) -> Result<String, Error> {
    let error = |source: HFError| Error::Hub {
        id: id.to_owned(),
        source: Box::new(source),
    };
    let client = HFClient::builder().build_sync().map_err(error)?;
    let created = client
        .create_repository()
        .repo_id(id)
        .repo_type(RepoTypeModel)
        .exist_ok(true)
        .send();
    created.map_err(error)?;
    let inside = OF_THE_RUN.map(|pattern| format!("{pattern}/**"));
    let (owner, name) = split_id(id);
    let commit = client
        .model(owner, name)
        .upload_folder()
        .folder_path(folder)
        .commit_message(message)
        .ignore_patterns(inside.to_vec())
        .send()
        .map_err(error)?;
    Ok(commit.commit_url.unwrap_or_else(|| id.to_owned()))
}

struct Tell {
    tell: DownloadProgress,
    state: std::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    files: std::collections::BTreeMap<String, u64>,
    aggregate: u64,
    total: u64,
}

impl Tell {
    fn new(tell: DownloadProgress) -> Self {
        Self {
            tell,
            state: std::sync::Mutex::default(),
        }
    }
}

impl ProgressHandler for Tell {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        match event {
            DownloadEvent::Start { total_bytes, .. } => state.total = *total_bytes,
            DownloadEvent::Progress { files } => {
                for file in files {
                    let name = file.filename.clone();
                    state.files.insert(name, file.bytes_completed);
                }
            }
            DownloadEvent::AggregateProgress {
                bytes_completed, ..
            } => state.aggregate = *bytes_completed,
            DownloadEvent::Complete => {
                state.aggregate = state.total;
                state.files.clear();
            }
        }
        let done = state.files.values().sum::<u64>() + state.aggregate;
        (self.tell)(done.min(state.total), state.total);
    }
}
