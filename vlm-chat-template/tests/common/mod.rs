//! Renders a case of `reference/chat_templates.py` and compares it to its golden.
#![allow(dead_code)] // each test file uses its part

use serde_json::{Value, json};
use vlm_chat_template::{
    ChatTemplate, ControlTokens, Ending, Error, Message, NaiveDateTime, Piece, RenderOptions,
    Rendered, SpecialTokens,
};

const NOW: &str = "2026-03-05T07:08:09.001234";

fn options(case: &Value) -> RenderOptions {
    let list = |key: &str| case[key].as_array().cloned();
    let ending = match (
        &case["continue_final_message"],
        &case["add_generation_prompt"],
    ) {
        (Value::Bool(true), _) => Ending::ContinueFinal("content".into()),
        (Value::String(field), _) => Ending::ContinueFinal(field.clone()),
        (_, Value::Bool(true)) => Ending::GenerationPrompt,
        _ => Ending::Closed,
    };
    let mut options = RenderOptions::new();
    options.ending = ending;
    options.tools = list("tools");
    options.documents = list("documents");
    options.variables = case["variables"].as_object().cloned().unwrap_or_default();
    options
}

pub fn template(case: &Value, name: &str, source: &str) -> Result<ChatTemplate, Error> {
    let tokens = case["special_tokens"].as_object().into_iter().flatten();
    let tokens = tokens.fold(SpecialTokens::new(), |tokens, (name, token)| {
        tokens.with(name, token.as_str().expect("a special token is a string"))
    });
    let now: NaiveDateTime = case["now"].as_str().unwrap_or(NOW).parse().expect("a time");
    let template = ChatTemplate::named(name, source)?
        .with_special_tokens(tokens)
        .with_clock(move || now);
    Ok(match case["control_tokens"].as_array() {
        Some(tokens) => template.with_control_tokens(ControlTokens::new(
            tokens.iter().map(|t| t.as_str().unwrap()),
        )),
        None => template,
    })
}

/// What ours gives for a case, in the form of a golden.
pub fn outcome(case: &Value, name: &str, source: &str) -> Value {
    render(case, name, source).unwrap_or_else(|error| match error {
        Error::Raised { message, .. } => json!({"error": {"raised": message}}),
        other => json!({"error": {"ours": other.to_string()}}),
    })
}

fn render(case: &Value, name: &str, source: &str) -> Result<Value, Error> {
    let template = template(case, name, source)?;
    let messages: Vec<Message> =
        serde_json::from_value(case["messages"].clone()).expect("messages");
    if template.control_tokens().is_some() {
        let prompt = template.render_sanitized(&messages, &options(case))?;
        return Ok(json!({"pieces": pieces(&prompt)}));
    }
    let prompt = template.render(&messages, &options(case))?;
    let mut golden = json!({"text": prompt.text()});
    if case["continue_final_message"].is_null() && source.contains("generation") {
        let spans = prompt.generated_chars()?;
        golden["generated"] = spans
            .iter()
            .map(|span| json!([span.start, span.end]))
            .collect();
    }
    Ok(golden)
}

fn pieces(prompt: &Rendered) -> Value {
    let mut joined: Vec<(&str, String)> = Vec::new();
    for piece in prompt.pieces() {
        let kind = if matches!(piece, Piece::Literal(_)) {
            "literal"
        } else {
            "text"
        };
        match joined.last_mut() {
            Some((last, text)) if *last == kind => text.push_str(piece.as_str()),
            _ => joined.push((kind, piece.as_str().into())),
        }
    }
    json!(joined)
}

/// Whether an outcome is what the golden says. The messages of engine errors may differ.
pub fn agrees(ours: &Value, golden: &Value) -> bool {
    match (&ours["error"], &golden["error"]) {
        (Value::Null, Value::Null) => ours == golden,
        (Value::Object(ours), Value::Object(golden)) => ours.get("raised") == golden.get("raised"),
        _ => false,
    }
}
