//! What a rendering is given besides the messages.

use serde::Serialize;
use serde_json::{Map, Value};

/// How a prompt ends.
///
/// ```
/// use vlm_chat_template::{Ending, RenderOptions};
///
/// assert_eq!(RenderOptions::new().ending, Ending::Closed);
/// assert_eq!(RenderOptions::new().with_generation_prompt().ending, Ending::GenerationPrompt);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// As the template closes the last message: for training.
    #[default]
    Closed,
    /// With the opening of an answer (`add_generation_prompt`): for generating.
    GenerationPrompt,
    /// Inside the last message, whose field of this name is left open
    /// (`continue_final_message`): for continuing an answer that was begun.
    ContinueFinal(String),
}

/// Options of one rendering.
///
/// ```
/// use vlm_chat_template::{ChatTemplate, Message, RenderOptions};
///
/// let template = ChatTemplate::new(
///     "{% for m in messages %}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}{{ name }}: {% endif %}",
/// )?;
/// let options = RenderOptions::new().with_generation_prompt().with_variable("name", "Bot");
/// let prompt = template.render(&[Message::user("Hi")], &options)?;
/// assert_eq!(prompt.text(), "Hi\nBot: ");
/// # Ok::<(), vlm_chat_template::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderOptions {
    /// How the prompt ends.
    pub ending: Ending,
    /// Tools as JSON schemas; templates see `none` without.
    pub tools: Option<Vec<Value>>,
    /// Documents for retrieval, each a JSON object; templates see `none` without.
    pub documents: Option<Vec<Value>>,
    /// Further variables. They win over special tokens of the same name, and lose to
    /// `messages`, `tools`, `documents` and `add_generation_prompt`.
    pub variables: Map<String, Value>,
}

impl RenderOptions {
    /// No tools, no documents, no variables, [`Ending::Closed`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends with the opening of an answer.
    pub fn with_generation_prompt(mut self) -> Self {
        self.ending = Ending::GenerationPrompt;
        self
    }

    /// Leaves the content of the last message open.
    ///
    /// ```
    /// use vlm_chat_template::{ChatTemplate, Message, RenderOptions};
    ///
    /// let template = ChatTemplate::new("{% for m in messages %}[{{ m.content }}]{% endfor %}")?;
    /// let messages = [Message::user("Count."), Message::assistant("1, 2,")];
    /// let prompt = template.render(&messages, &RenderOptions::new().with_continued_final_message())?;
    /// assert_eq!(prompt.text(), "[Count.][1, 2,");
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn with_continued_final_message(self) -> Self {
        self.with_continued_field("content")
    }

    /// Leaves a field of the last message open, such as `reasoning_content`.
    pub fn with_continued_field(mut self, field: impl Into<String>) -> Self {
        self.ending = Ending::ContinueFinal(field.into());
        self
    }

    /// Gives tools, as JSON schemas.
    ///
    /// ```
    /// use serde_json::json;
    /// use vlm_chat_template::{ChatTemplate, Message, RenderOptions};
    ///
    /// let template = ChatTemplate::new("{% for tool in tools %}{{ tool.function.name }}{% endfor %}: {{ documents[0].text }}")?;
    /// let options = RenderOptions::new()
    ///     .with_tools([json!({ "type": "function", "function": { "name": "get_weather" } })])
    ///     .with_documents([json!({ "title": "Report", "text": "Rain" })]);
    /// let prompt = template.render(&[Message::user("And now?")], &options)?;
    /// assert_eq!(prompt.text(), "get_weather: Rain");
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn with_tools(mut self, tools: impl IntoIterator<Item = Value>) -> Self {
        self.tools = Some(tools.into_iter().collect());
        self
    }

    /// Gives documents, each a JSON object: see [`with_tools`](Self::with_tools).
    pub fn with_documents(mut self, documents: impl IntoIterator<Item = Value>) -> Self {
        self.documents = Some(documents.into_iter().collect());
        self
    }

    /// Gives a variable of the template, such as `enable_thinking`.
    ///
    /// # Panics
    ///
    /// When the value cannot be written as JSON (a map whose keys are not strings).
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("a template variable should be JSON");
        self.variables.insert(name.into(), value);
        self
    }
}
