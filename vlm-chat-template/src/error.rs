//! The one error type of the crate.

use std::path::PathBuf;

/// What can go wrong while loading or rendering a chat template.
///
/// A template's own errors name the template and the line. The underlying error is kept as
/// [`source`](std::error::Error::source), so that a reporter can print the chain:
///
/// ```
/// use vlm_chat_template::{ChatTemplate, Error};
///
/// let error = ChatTemplate::new("Hello\n{% if %}").unwrap_err();
/// assert!(matches!(error, Error::Syntax { line: 2, .. }));
/// assert!(error.to_string().starts_with("chat template \"chat_template\", line 2: "));
/// assert!(std::error::Error::source(&error).is_some());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is not a valid Jinja template.
    #[error("chat template \"{template}\", line {line}: {source}")]
    Syntax {
        /// Name of the template.
        template: String,
        /// Line in the template, counted from 1; 0 when unknown.
        line: usize,
        /// The engine's error.
        source: minijinja::Error,
    },
    /// The template failed while it was rendered.
    #[error("chat template \"{template}\", line {line}: {source}")]
    Render {
        /// Name of the template.
        template: String,
        /// Line in the template, counted from 1; 0 when unknown.
        line: usize,
        /// The engine's error.
        source: minijinja::Error,
    },
    /// The template called `raise_exception(message)`: it refuses this conversation.
    #[error("chat template \"{template}\", line {line}, refuses the conversation: {message}")]
    Raised {
        /// Name of the template.
        template: String,
        /// Line in the template, counted from 1; 0 when unknown.
        line: usize,
        /// What the template says.
        message: String,
    },
    /// The template used up its fuel: it loops for very long or produces very much.
    #[error("chat template \"{template}\" was stopped after {fuel} units of fuel")]
    OutOfFuel {
        /// Name of the template.
        template: String,
        /// The limit, see [`ChatTemplate::with_fuel`](crate::ChatTemplate::with_fuel).
        fuel: u64,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file is not valid JSON.
    #[error("{} is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// A key of a file holds something unexpected.
    #[error("{}: `{key}` should be {expected}, found {found}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, with its path inside the file.
        key: String,
        /// What was expected there.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// A folder holds no chat template.
    #[error(
        "{} has no chat template: expected chat_template.jinja, chat_template.json, \
         or `chat_template` in tokenizer_config.json or processor_config.json",
        folder.display()
    )]
    NoTemplate {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder holds templates in a combination that the reference refuses as well.
    #[error(
        "{} has both the old chat_template.json and additional_chat_templates/: \
         replace chat_template.json by chat_template.jinja",
        folder.display()
    )]
    ConflictingFiles {
        /// The folder.
        folder: PathBuf,
    },
    /// No template has the name that was asked for.
    #[error("no chat template is named \"{name}\"; there are: {}", available.join(", "))]
    UnknownTemplate {
        /// The name asked for.
        name: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// There is nothing to render.
    #[error("cannot render an empty conversation: give at least one message")]
    NoMessages,
    /// The conversation or the options do not fit the request.
    #[error("{0}")]
    Conversation(String),
    /// Boxes or points do not fit the text, or the picture.
    #[error("{0}")]
    Grounding(String),
    /// The final message cannot be continued.
    #[error("cannot continue the final message: {0}")]
    Continue(String),
    /// Sanitized rendering was asked of a template that knows no control tokens.
    #[error(
        "chat template \"{template}\" knows no control tokens: \
         load it from a folder with tokenizer.json, or give them by `with_control_tokens`"
    )]
    NoControlTokens {
        /// Name of the template.
        template: String,
    },
    /// The place of a `{% generation %}` block in the prompt is not known.
    #[error(
        "chat template \"{template}\": the {{% generation %}} block number {block} is inside a macro, \
         a set block or a filter block, so its place in the prompt is not known"
    )]
    GenerationPlace {
        /// Name of the template.
        template: String,
        /// The block in order of rendering, counted from 1.
        block: usize,
    },
    /// A template does not write a conversation as an extension of its beginning.
    #[error(
        "chat template \"{template}\" is not prefix-stable at message {message}: \
         the prompt of {shorter} is not how the prompt of {longer} begins \
         (they part at byte {at})"
    )]
    NotPrefixStable {
        /// Name of the template.
        template: String,
        /// Index of the assistant message, counted from 0.
        message: usize,
        /// What was rendered first.
        shorter: &'static str,
        /// What should begin with it.
        longer: &'static str,
        /// First byte where they differ.
        at: usize,
    },
    /// Fewer placeholders than images.
    #[error(
        "the prompt has {placeholders} \"{token}\" placeholder{} for {images} image{}: image {} ({name}) has none",
        plural(*placeholders), plural(*images), placeholders + 1
    )]
    ImageWithoutPlaceholder {
        /// The placeholder.
        token: String,
        /// How often the prompt has it.
        placeholders: usize,
        /// How many images there are.
        images: usize,
        /// Name of the first image without a placeholder.
        name: String,
    },
    /// More placeholders than images.
    #[error(
        "the prompt has {placeholders} \"{token}\" placeholder{} for {images} image{}: \
         placeholder {} at byte {at} has no image",
        plural(*placeholders), plural(*images), images + 1
    )]
    PlaceholderWithoutImage {
        /// The placeholder.
        token: String,
        /// How often the prompt has it.
        placeholders: usize,
        /// How many images there are.
        images: usize,
        /// Where the first placeholder without an image stands.
        at: usize,
    },
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What `raise_exception` puts into the engine's error, to be found again in its chain.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Raised(pub String);

impl Error {
    pub(crate) fn syntax(template: &str, source: minijinja::Error) -> Self {
        Error::Syntax {
            template: template.into(),
            line: source.line().unwrap_or(0),
            source,
        }
    }

    pub(crate) fn render(template: &str, fuel: u64, source: minijinja::Error) -> Self {
        let template = template.to_owned();
        let mut link: Option<&(dyn std::error::Error + 'static)> = Some(&source);
        // The innermost place is the one to show: a macro's body, not the call of the macro.
        let mut line = source.line().unwrap_or(0);
        while let Some(error) = link {
            if let Some(engine) = error.downcast_ref::<minijinja::Error>() {
                if engine.kind() == minijinja::ErrorKind::OutOfFuel {
                    return Error::OutOfFuel { template, fuel };
                }
                line = engine.line().unwrap_or(line);
            }
            if let Some(Raised(message)) = error.downcast_ref() {
                return Error::Raised {
                    template,
                    line,
                    message: message.clone(),
                };
            }
            link = error.source();
        }
        Error::Render {
            template,
            line,
            source,
        }
    }
}
