//! Images and their placeholders in a prompt.

use crate::{Error, Message, PartKind, Piece, Rendered};

/// A name for each image of the messages, in order: its path or address, or `unnamed`.
///
/// ```
/// use vlm_chat_template::{image_names, Message};
///
/// let messages = [
///     Message::user("Compare.").with_image_path("a.png").with_image(),
///     Message::assistant("Done."),
/// ];
/// assert_eq!(image_names(&messages), ["a.png", "unnamed"]);
/// ```
pub fn image_names(messages: &[Message]) -> Vec<String> {
    let parts = messages.iter().flat_map(|message| message.parts());
    let name = |part: PartKind<'_>| match part {
        PartKind::Image(name) => Some(name.unwrap_or("unnamed").to_owned()),
        _ => None,
    };
    parts.filter_map(|part| name(part.kind())).collect()
}

/// The byte offsets of a placeholder in a prompt, without those that a user wrote (when the
/// prompt was sanitized).
///
/// ```
/// use vlm_chat_template::{find_placeholders, ChatTemplate, ControlTokens, Message, RenderOptions};
///
/// let template = ChatTemplate::new("<image>{{ messages[0].content }}")?
///     .with_control_tokens(ControlTokens::new(["<image>"]));
/// let prompt = template.render_sanitized(&[Message::user("an <image>")], &RenderOptions::new())?;
/// assert_eq!(prompt.text(), "<image>an <image>");
/// assert_eq!(find_placeholders(&prompt, "<image>"), [0]);
/// # Ok::<(), vlm_chat_template::Error>(())
/// ```
pub fn find_placeholders(prompt: &Rendered, placeholder: &str) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut start = 0;
    for piece in prompt.pieces() {
        if let Piece::Text(text) = piece
            && !placeholder.is_empty()
        {
            offsets.extend(text.match_indices(placeholder).map(|(at, _)| start + at));
        }
        start += piece.as_str().len();
    }
    offsets
}

/// Checks that a prompt has one placeholder for each image.
///
/// ```
/// use vlm_chat_template::{check_placeholders, ChatTemplate, Message, RenderOptions};
///
/// let template = ChatTemplate::new("<image>{{ messages[0].content[2].text }}")?;
/// let message = Message::user("Compare.").with_image_path("a.png").with_image_path("b.png");
/// let prompt = template.render(&[message], &RenderOptions::new())?;
/// let error = check_placeholders(&prompt, "<image>", &["a.png", "b.png"]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the prompt has 1 \"<image>\" placeholder for 2 images: image 2 (b.png) has none"
/// );
/// # Ok::<(), vlm_chat_template::Error>(())
/// ```
pub fn check_placeholders(
    prompt: &Rendered,
    placeholder: &str,
    images: &[impl AsRef<str>],
) -> Result<(), Error> {
    let found = find_placeholders(prompt, placeholder);
    let (token, placeholders, images_given) = (placeholder.to_owned(), found.len(), images.len());
    match (images.get(placeholders), found.get(images_given)) {
        (Some(image), _) => Err(Error::ImageWithoutPlaceholder {
            token,
            placeholders,
            images: images_given,
            name: image.as_ref().to_owned(),
        }),
        (_, Some(&at)) => Err(Error::PlaceholderWithoutImage {
            token,
            placeholders,
            images: images_given,
            at,
        }),
        _ => Ok(()),
    }
}
