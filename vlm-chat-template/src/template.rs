//! A compiled chat template.

use std::{path::Path, sync::Arc};

use chrono::NaiveDateTime;
use minijinja::{Environment, Value as JinjaValue, value::Serde};
use serde_json::{Map, Value};

use crate::{
    ControlTokens, Ending, Error, Message, RenderOptions, Rendered, SpecialTokens, TemplateSet,
    clock::Clock,
    conversation::{Continuation, alias_reasoning, normalized},
    environment::{environment, set_clock},
    generation::{self, Tracker, Writer},
    rewrite::{Rewritten, rewrite},
};

/// Allows some seconds of work and at most 640 MB.
const DEFAULT_FUEL: u64 = 10_000_000;

/// A chat template: turns messages into a prompt.
///
/// ```
/// use vlm_chat_template::{ChatTemplate, Message, RenderOptions, SpecialTokens};
///
/// let template = ChatTemplate::new(
///     "{{ bos_token }}{% for m in messages %}{{ m.role | upper }}: {{ m.content }}\n{% endfor %}",
/// )?
/// .with_special_tokens(SpecialTokens::new().with("bos_token", "<s>"));
/// let prompt = template.render(&[Message::user("Hi")], &RenderOptions::new())?;
/// assert_eq!(prompt.text(), "<s>USER: Hi\n");
/// # Ok::<(), vlm_chat_template::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    name: String,
    source: String,
    env: Environment<'static>,
    fuel: u64,
    generation: bool,
    literals: String,
    special_tokens: SpecialTokens,
    control_tokens: Option<ControlTokens>,
}

impl ChatTemplate {
    /// Compiles a template from its source, under the name `chat_template`.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`], with the line.
    pub fn new(source: impl Into<String>) -> Result<Self, Error> {
        Self::named("chat_template", source)
    }

    /// Compiles a template under a name that errors will show, such as a file's.
    ///
    /// ```
    /// # use vlm_chat_template::ChatTemplate;
    /// let error = ChatTemplate::named("vicuna.jinja", "{{ ").unwrap_err();
    /// assert!(error.to_string().contains("vicuna.jinja"));
    /// ```
    pub fn named(name: impl Into<String>, source: impl Into<String>) -> Result<Self, Error> {
        let (name, source) = (name.into(), source.into());
        let Rewritten {
            source: rewritten,
            generation,
            literals,
        } = rewrite(&source).map_err(|(line, source)| Error::Syntax {
            template: name.clone(),
            line,
            source,
        })?;
        let mut env = environment(Clock::default(), DEFAULT_FUEL);
        env.add_template_owned(name.clone(), rewritten)
            .map_err(|error| Error::syntax(&name, error))?;
        Ok(ChatTemplate {
            name,
            source,
            env,
            fuel: DEFAULT_FUEL,
            generation,
            literals,
            special_tokens: SpecialTokens::new(),
            control_tokens: None,
        })
    }

    /// Loads the default template of a checkpoint folder, with its special and control tokens.
    /// [`TemplateSet`] gives the others, and says where they are looked for.
    ///
    /// ```no_run
    /// # use vlm_chat_template::ChatTemplate;
    /// let template = ChatTemplate::from_folder("llava-1.5-7b-hf")?;
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        TemplateSet::from_folder(folder)?.default_template()
    }

    /// Sets the special tokens, which are variables of the template.
    pub fn with_special_tokens(mut self, tokens: SpecialTokens) -> Self {
        self.special_tokens = tokens;
        self
    }

    /// Sets the tokens that [`render_sanitized`](Self::render_sanitized) keeps users from writing.
    pub fn with_control_tokens(mut self, tokens: ControlTokens) -> Self {
        self.control_tokens = Some(tokens);
        self
    }

    /// Sets the clock of `strftime_now`; by default the machine's local time.
    ///
    /// ```
    /// use vlm_chat_template::{ChatTemplate, Message, NaiveDateTime, RenderOptions};
    ///
    /// let noon: NaiveDateTime = "2026-03-05T12:00:00".parse().unwrap();
    /// let template = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}")?.with_clock(move || noon);
    /// let prompt = template.render(&[Message::user("Hi")], &RenderOptions::new())?;
    /// assert_eq!(prompt.text(), "05 Mar 2026");
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    pub fn with_clock(mut self, now: impl Fn() -> NaiveDateTime + Send + Sync + 'static) -> Self {
        set_clock(&mut self.env, Clock::new(now));
        self
    }

    /// Limits the work of one rendering: about one unit for each step and each 64 bytes. The
    /// default, 10 million, is far above what a conversation needs.
    ///
    /// ```
    /// use vlm_chat_template::{ChatTemplate, Error, Message, RenderOptions};
    ///
    /// let bomb = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    /// let template = ChatTemplate::new(bomb)?.with_fuel(1000);
    /// let error = template.render(&[Message::user("Hi")], &RenderOptions::new()).unwrap_err();
    /// assert!(matches!(error, Error::OutOfFuel { fuel: 1000, .. }));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel;
        self.env.set_fuel(Some(fuel));
        self
    }

    /// The name that errors show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special_tokens
    }

    /// The control tokens, if they are known.
    pub fn control_tokens(&self) -> Option<&ControlTokens> {
        self.control_tokens.as_ref()
    }

    /// Whether the template has a `{% generation %}` block.
    pub fn has_generation_tag(&self) -> bool {
        self.generation
    }

    /// All text and string literals of the template, joined by NUL.
    pub(crate) fn literals(&self) -> &str {
        &self.literals
    }

    /// Renders a conversation. Its text is trusted: an `<image>` that a user wrote is one like the
    /// template's own. That is right for training data and for showing a prompt; see
    /// [`render_sanitized`](Self::render_sanitized).
    ///
    /// # Errors
    ///
    /// [`Error::Raised`] when the template refuses the conversation, [`Error::Render`] when it
    /// fails, [`Error::OutOfFuel`] when it takes too long.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<Rendered, Error> {
        self.render_normalized(normalized(messages), options)
    }

    /// Renders a conversation of which any text may come from strangers, for a model to answer:
    /// control tokens in messages, tools, documents and variables are kept as
    /// [`Piece::Literal`](crate::Piece::Literal), to be encoded as plain text.
    ///
    /// ```
    /// use vlm_chat_template::{ChatTemplate, ControlTokens, Message, Piece, RenderOptions};
    ///
    /// let template = ChatTemplate::new("{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}")?
    ///     .with_control_tokens(ControlTokens::new(["<s>", "</s>"]));
    /// let messages = [Message::user("Hi</s>")];
    /// let prompt = template.render_sanitized(&messages, &RenderOptions::new())?;
    /// assert_eq!(
    ///     prompt.pieces().collect::<Vec<_>>(),
    ///     [Piece::Text("<s>Hi"), Piece::Literal("</s>"), Piece::Text("</s>")],
    /// );
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`render`](Self::render), and [`Error::NoControlTokens`].
    pub fn render_sanitized(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, Error> {
        let tokens = self.known_control_tokens()?;
        Ok(self
            .render_marked(messages, options, tokens, |_| true)?
            .resolve_markers(tokens))
    }

    pub(crate) fn known_control_tokens(&self) -> Result<&ControlTokens, Error> {
        let unknown = || Error::NoControlTokens {
            template: self.name.clone(),
        };
        self.control_tokens.as_ref().ok_or_else(unknown)
    }

    /// Renders with markers around the control tokens of what is given; of messages, of those that are `foreign`.
    pub(crate) fn render_marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        tokens: &ControlTokens,
        foreign: impl Fn(&Message) -> bool,
    ) -> Result<Rendered, Error> {
        let mut options = options.clone();
        for list in [&mut options.tools, &mut options.documents]
            .into_iter()
            .flatten()
        {
            list.iter_mut().for_each(|json| tokens.mark_json(json));
        }
        options
            .variables
            .values_mut()
            .for_each(|json| tokens.mark_json(json));
        let mut all = normalized(messages);
        let foreign = all.iter_mut().zip(messages).filter(|(_, m)| foreign(m));
        foreign
            .flat_map(|(map, _)| map.values_mut())
            .for_each(|json| tokens.mark_json(json));
        self.render_normalized(all, &options)
    }

    fn render_normalized(
        &self,
        mut messages: Vec<Map<String, Value>>,
        options: &RenderOptions,
    ) -> Result<Rendered, Error> {
        if messages.is_empty() {
            return Err(Error::NoMessages);
        }
        let documents = options.documents.as_deref().unwrap_or_default();
        if let Some(other) = documents.iter().find(|document| !document.is_object()) {
            return Err(Error::Conversation(format!(
                "a document should be a JSON object, found {other}"
            )));
        }
        alias_reasoning(&mut messages);
        let continuation = match &options.ending {
            Ending::ContinueFinal(field) => {
                Some(Continuation::mark(&mut messages, field, &self.source)?)
            }
            _ => None,
        };
        let tracker = Arc::new(Tracker::default());
        let mut writer = Writer::new(tracker.clone());
        let context = self.context(messages, options, tracker.clone());
        let failed = |error| Error::render(&self.name, self.fuel, error);
        let template = self.env.get_template(&self.name).map_err(failed)?;
        template
            .render_captured_to(context, &mut writer)
            .map_err(failed)?;
        let mut text = writer.into_string();
        let mut generated = tracker.spans(&text);
        if let Some(continuation) = continuation {
            text.truncate(continuation.cut(&text)?);
            for span in generated.iter_mut().flatten() {
                *span = span.start.min(text.len())..span.end.min(text.len());
            }
        }
        Ok(Rendered {
            template: self.name.clone(),
            text,
            generated,
            pieces: Vec::new(),
        })
    }

    fn context(
        &self,
        messages: Vec<Map<String, Value>>,
        options: &RenderOptions,
        tracker: Arc<Tracker>,
    ) -> JinjaValue {
        let special = self
            .special_tokens
            .iter()
            .map(|(name, token)| (name.to_owned(), JinjaValue::from(token)));
        let variables = options
            .variables
            .iter()
            .map(|(name, value)| (name.clone(), jinja(value)));
        let fixed = [
            ("messages", jinja(&messages)),
            ("tools", jinja(&options.tools)),
            ("documents", jinja(&options.documents)),
            (
                "add_generation_prompt",
                (options.ending == Ending::GenerationPrompt).into(),
            ),
            (generation::CALLEE, JinjaValue::from_dyn_object(tracker)),
        ];
        let fixed = fixed
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        JinjaValue::from_pairs(special.chain(variables).chain(fixed))
    }
}

fn jinja(value: &impl serde::Serialize) -> JinjaValue {
    JinjaValue::from(Serde(value))
}
