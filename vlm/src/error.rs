/// What can go wrong between a folder, a picture, a question and an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, a key, a weight, a picture or a request.
    #[error(transparent)]
    Core(#[from] vlm_core::Error),
    /// A chat template or what it was given.
    #[error(transparent)]
    Template(#[from] vlm_chat_template::Error),
    /// A download.
    #[cfg(feature = "hub")]
    #[error("model `{id}`: {source}")]
    Hub {
        /// The model's id.
        id: String,
        /// What the hub said.
        source: Box<hf_hub::HFError>,
    },
    /// A flag's value.
    #[error("{0}")]
    Usage(String),
}
