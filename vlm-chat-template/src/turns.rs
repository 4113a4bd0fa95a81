//! The assistant's turns in a prompt, for templates without `{% generation %}`.

use crate::{ChatTemplate, Ending, Error, Message, RenderOptions, Rendered};

impl ChatTemplate {
    /// Renders a conversation and finds the assistant's turns in it, whether or not the template
    /// marks them: by its `{% generation %}` blocks, or else by rendering each beginning of the
    /// conversation.
    ///
    /// Found the second way, a turn begins where the generation prompt ends and goes to the end
    /// of what the template writes for the message, with the end-of-turn token and line break
    /// that follow the words:
    ///
    /// ```
    /// use vlm_chat_template::{ChatTemplate, Message, RenderOptions};
    ///
    /// let template = ChatTemplate::new(
    ///     "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>\n{% endfor %}\
    ///      {% if add_generation_prompt %}assistant: {% endif %}",
    /// )?;
    /// let messages = [Message::user("2 + 2?"), Message::assistant("4"), Message::user("Thanks")];
    /// let prompt = template.render_turns(&messages, &RenderOptions::new())?;
    /// let turns: Vec<_> = prompt.generated()?.iter().map(|span| &prompt.text()[span.clone()]).collect();
    /// assert_eq!(turns, ["4</s>\n"]);
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotPrefixStable`] when the template does not write the conversation as an
    /// extension of its beginnings, for instance because it drops the reasoning of all turns but
    /// the last: then there is no telling what the assistant wrote.
    pub fn render_turns(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, Error> {
        self.turns(messages, options, |messages, options| {
            self.render(messages, options)
        })
    }

    /// As [`render_turns`](Self::render_turns), for conversations with strangers: a model learns from them as it
    /// answers them, see [`render_sanitized`](Self::render_sanitized).
    ///
    /// The assistant's messages alone are taken at their word. What they say is what the model is to write, such
    /// as the tokens around a call or a box.
    ///
    /// ```
    /// use vlm_chat_template::{ChatTemplate, ControlTokens, Message, Piece, RenderOptions};
    ///
    /// let template = ChatTemplate::new(
    ///     "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}\
    ///      {% if add_generation_prompt %}assistant: {% endif %}",
    /// )?
    /// .with_control_tokens(ControlTokens::new(["</s>"]));
    /// let messages = [Message::user("What is </s>?"), Message::assistant("An end")];
    /// let prompt = template.render_turns_sanitized(&messages, &RenderOptions::new())?;
    /// assert!(prompt.pieces().any(|piece| piece == Piece::Literal("</s>")));
    /// assert_eq!(&prompt.text()[prompt.generated()?[0].clone()], "An end</s>");
    /// # Ok::<(), vlm_chat_template::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`render_turns`](Self::render_turns), and [`Error::NoControlTokens`].
    pub fn render_turns_sanitized(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, Error> {
        let tokens = self.known_control_tokens()?;
        let marked = self.turns(messages, options, |messages, options| {
            let foreign = |message: &Message| message.role != "assistant";
            self.render_marked(messages, options, tokens, foreign)
        })?;
        Ok(marked.resolve_markers(tokens))
    }

    fn turns(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        render: impl Fn(&[Message], &RenderOptions) -> Result<Rendered, Error>,
    ) -> Result<Rendered, Error> {
        let mut rendered = render(messages, options)?;
        if self.has_generation_tag() {
            rendered.generated()?;
            return Ok(rendered);
        }
        let prefix = |messages: &[Message], ending| match messages {
            [] => Ok(String::new()),
            _ => {
                let options = RenderOptions {
                    ending,
                    ..options.clone()
                };
                render(messages, &options).map(Rendered::into_text)
            }
        };
        let mut spans = Vec::new();
        for (index, _) in messages
            .iter()
            .enumerate()
            .filter(|(_, message)| message.role == "assistant")
        {
            let asked = prefix(&messages[..index], Ending::GenerationPrompt)?;
            let answered = prefix(&messages[..=index], Ending::Closed)?;
            let stable = |shorter: (&'static str, &str), longer: (&'static str, &str)| {
                let same = shorter
                    .1
                    .bytes()
                    .zip(longer.1.bytes())
                    .take_while(|(a, b)| a == b)
                    .count();
                match same == shorter.1.len() {
                    true => Ok(()),
                    false => Err(Error::NotPrefixStable {
                        template: self.name().into(),
                        message: index,
                        shorter: shorter.0,
                        longer: longer.0,
                        at: same,
                    }),
                }
            };
            let through = ("the messages up to it", answered.as_str());
            stable(
                ("the messages before it, with generation prompt,", &asked),
                through,
            )?;
            // A final message that is continued is cut: its turn is what is left of it.
            let last_continued =
                index + 1 == messages.len() && matches!(options.ending, Ending::ContinueFinal(_));
            if last_continued {
                stable(
                    ("the messages before it, with generation prompt,", &asked),
                    ("the whole conversation", &rendered.text),
                )?;
            } else {
                stable(through, ("the whole conversation", &rendered.text))?;
            }
            spans.push(asked.len()..answered.len().min(rendered.text.len()));
        }
        rendered.generated = Ok(spans);
        Ok(rendered)
    }
}
