//! Hugging Face chat templates for vision-language models.
//!
//! A checkpoint carries a Jinja template that turns a conversation into the prompt its model was
//! trained on. This crate finds the template, renders it as transformers does, and says where in
//! the prompt the assistant speaks and which control tokens are a stranger's.
//!
//! ```
//! use vlm_chat_template::{check_placeholders, image_names, ChatTemplate, Message, RenderOptions};
//!
//! // From a folder: ChatTemplate::from_folder("llava-1.5-7b-hf")?
//! let template = ChatTemplate::new(
//!     "{% for m in messages %}\
//!          {{ m.role | upper }}: \
//!          {% for part in m.content %}{{ '<image>\n' if part.type == 'image' else part.text }}{% endfor %} \
//!      {% endfor %}\
//!      {% if add_generation_prompt %}ASSISTANT:{% endif %}",
//! )?;
//! let messages = [Message::user("What is it?").with_image_path("cat.png")];
//! let prompt = template.render(&messages, &RenderOptions::new().with_generation_prompt())?;
//! assert_eq!(prompt.text(), "USER: <image>\nWhat is it? ASSISTANT:");
//! check_placeholders(&prompt, "<image>", &image_names(&messages))?;
//! # Ok::<(), vlm_chat_template::Error>(())
//! ```
//!
//! # What is where
//!
//! - [`Message`], [`Content`], [`Part`]: conversations, in the JSON form of datasets.
//! - [`ChatTemplate`], [`TemplateSet`]: templates from a source or a checkpoint folder.
//! - [`RenderOptions`], [`Ending`]: generation prompt, continued answers, tools, documents.
//! - [`Rendered`]: the prompt; [`Rendered::generated`] and [`Rendered::token_mask`] for training,
//!   [`ChatTemplate::render_turns`] for templates without `{% generation %}`.
//! - [`ControlTokens`], [`Piece`]: prompts from strangers' text, by
//!   [`ChatTemplate::render_sanitized`].
//! - [`check_placeholders`]: images and their placeholders.
//! - [`grounding`]: boxes and points, in answers and in prompts.
//!
//! # Trust
//!
//! Two things are not to be trusted. A *template* is a downloaded program: it runs in a sandbox
//! with [limited fuel](ChatTemplate::with_fuel) and can neither hang nor reach anything. The
//! *text* of a conversation may hold `<image>` or `<|im_end|>`: [`ChatTemplate::render`] takes it
//! at its word, which is right for training data, as in the reference, whose
//! `sanitize_control_tokens` is off by default; to answer strangers use
//! [`ChatTemplate::render_sanitized`].
//!
//! # Why minijinja, and how it is made to agree
//!
//! The reference is jinja2. minijinja reads the same language with small differences; the source
//! is rewritten where they lie in the syntax (`{% generation %}`, `"%s" % x`), and methods, tests,
//! filters and the printing of values are replaced where they lie in the values. The tests render
//! templates and expressions against goldens made by transformers, and list what is left.

mod added_tokens;
mod clock;
mod content;
mod control_tokens;
mod conversation;
mod environment;
mod error;
mod escapes;
mod files;
mod generation;
pub mod grounding;
mod lexer;
mod limits;
mod message;
mod options;
mod placeholders;
mod python;
mod rendered;
mod rewrite;
mod special_tokens;
mod template;
mod template_set;
mod tojson;
mod turns;

pub use chrono::NaiveDateTime;

pub use content::{Content, Part, PartKind};
pub use control_tokens::{ControlTokens, Piece, sanitized_pieces};
pub use error::Error;
pub use message::Message;
pub use options::{Ending, RenderOptions};
pub use placeholders::{check_placeholders, find_placeholders, image_names};
pub use rendered::Rendered;
pub use special_tokens::SpecialTokens;
pub use template::ChatTemplate;
pub use template_set::TemplateSet;
