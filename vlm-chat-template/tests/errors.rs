//! Errors name what is wrong and where.

use std::{error::Error as _, fs, path::Path};

use serde_json::Value;
use vlm_chat_template::{
    ChatTemplate, ControlTokens, Error, Message, RenderOptions, TemplateSet, check_placeholders,
    image_names,
};

fn fails(source: &str) -> Error {
    let template = ChatTemplate::named("t.jinja", source)
        .unwrap()
        .with_fuel(100_000);
    template
        .render(&[Message::user("Hi")], &RenderOptions::new())
        .unwrap_err()
}

#[test]
fn a_template_s_refusal_is_told_apart_and_has_its_line() {
    let error = fails("a\n{{ raise_exception('Only ' ~ 1 ~ ' turn') }}");
    assert_eq!(
        error.to_string(),
        "chat template \"t.jinja\", line 2, refuses the conversation: Only 1 turn"
    );
    let error =
        fails("{% macro m() %}\n\n{{ raise_exception('deep') }}{% endmacro %}\n\n\n{{ m() }}");
    assert!(matches!(error, Error::Raised { line: 3, .. }), "{error:?}");
    let error = fails("{% generation %}\n{{ raise_exception('deep') }}{% endgeneration %}");
    assert!(matches!(error, Error::Raised { line: 2, .. }), "{error:?}");
}

#[test]
fn a_failure_has_its_line_and_its_source() {
    let error = fails("one\ntwo\n{{ messages[0].nothing.at_all }}");
    assert!(matches!(error, Error::Render { line: 3, .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("chat template \"t.jinja\", line 3: undefined value"),
        "{error}"
    );
    assert!(error.source().unwrap().is::<minijinja::Error>());
}

#[test]
fn a_rewritten_template_keeps_its_lines() {
    let source = "{% macro m(a) -%}\n{{ a[1:] }}{% endmacro %}\n{% raw %}\n{% endraw %}{% generation %}\n{{ '%s' % 'a\nb' }}\
                  {% endgeneration %}\n{{ nothing.at_all }}";
    assert!(
        matches!(fails(source), Error::Render { line: 7, .. }),
        "{:?}",
        fails(source)
    );
}

#[test]
fn hostile_templates_run_out_of_fuel() {
    for bomb in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{% set ns = namespace(x='abc') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{{ 'x'.center(99999999999) }}",
        "{{ 'x'.ljust(99999999999) }}",
        "{{ 'x' | center(99999999999) }}",
        "{{ [1] | tojson(indent=99999999999) }}",
        "{{ '%99999999999d' % 1 }}",
        "{% macro m() %}{% for i in range(99) %}{{ m() }}{% endfor %}{% endmacro %}{{ m() }}",
    ] {
        let error = fails(bomb);
        assert!(!matches!(error, Error::Raised { .. }), "{bomb}: {error}");
        let stopped = matches!(error, Error::OutOfFuel { .. });
        assert!(
            stopped || bomb.contains("macro") || bomb.contains('%'),
            "{bomb}: {error}"
        );
    }
}

#[test]
fn deep_values_are_not_printed() {
    let deep = |depth| (0..depth).fold(Value::Null, |value, _| Value::Array(vec![value]));
    for source in [
        "{{ messages[0].x }}",
        "{{ messages[0].x | tojson }}",
        "{{ messages[0].x | string }}",
    ] {
        let template = ChatTemplate::new(source).unwrap();
        let render = |depth| {
            template.render(
                &[Message::user("").with("x", deep(depth))],
                &RenderOptions::new(),
            )
        };
        assert!(render(150).is_ok());
        assert!(
            render(300)
                .unwrap_err()
                .to_string()
                .contains("nested too deeply"),
            "{source}"
        );
    }
}

#[test]
fn an_empty_conversation_is_an_error() {
    let template = ChatTemplate::new("fixed").unwrap();
    assert!(matches!(
        template.render(&[], &RenderOptions::new()),
        Err(Error::NoMessages)
    ));
}

#[test]
fn documents_are_objects() {
    let template = ChatTemplate::new("fixed").unwrap();
    let error = template.render(
        &[Message::user("x")],
        &RenderOptions::new().with_documents(["text".into()]),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "a document should be a JSON object, found \"text\""
    );
}

#[test]
fn sanitizing_needs_control_tokens() {
    let template = ChatTemplate::new("fixed").unwrap();
    let error = template
        .render_sanitized(&[Message::user("x")], &RenderOptions::new())
        .unwrap_err();
    assert!(
        error.to_string().contains("knows no control tokens"),
        "{error}"
    );
}

#[test]
fn images_and_placeholders_are_counted() {
    let images = Message::user("Compare.")
        .with_image_path("a.png")
        .with_image_path("b.png");
    let names = image_names(std::slice::from_ref(&images));
    let check = |source: &str| {
        let template = ChatTemplate::new(source)
            .unwrap()
            .with_control_tokens(ControlTokens::new(["<image>"]));
        let messages = [images.clone(), Message::user("<image>")];
        let prompt = template
            .render_sanitized(&messages, &RenderOptions::new())
            .unwrap();
        check_placeholders(&prompt, "<image>", &names).map_err(|error| error.to_string())
    };
    assert_eq!(check("<image><image>{{ messages[1].content }}"), Ok(()));
    assert_eq!(
        check("{{ messages[1].content }}").unwrap_err(),
        "the prompt has 0 \"<image>\" placeholders for 2 images: image 1 (a.png) has none"
    );
    assert_eq!(
        check("é<image><image> {{ messages[1].content }}<image>").unwrap_err(),
        "the prompt has 3 \"<image>\" placeholders for 2 images: placeholder 3 at byte 24 has no image"
    );
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

#[test]
fn files_that_are_not_as_expected_are_named() {
    for (files, message) in [
        (
            &[("tokenizer_config.json", "{")][..],
            "/tokenizer_config.json is not valid JSON",
        ),
        (
            &[("tokenizer_config.json", "[1]")],
            "/tokenizer_config.json: `(top level)` should be an object, found [1]",
        ),
        (
            &[("tokenizer_config.json", r#"{"chat_template": 7}"#)],
            "/tokenizer_config.json: `chat_template` should be a string or a list of {name, template}, found 7",
        ),
        (
            &[(
                "tokenizer_config.json",
                r#"{"chat_template": [{"name": "default"}]}"#,
            )],
            "/tokenizer_config.json: `chat_template[0].template` should be a template, found null",
        ),
        (
            &[(
                "tokenizer_config.json",
                r#"{"chat_template": [{"template": "x"}]}"#,
            )],
            "/tokenizer_config.json: `chat_template[0].name` should be a string, found {\"template\":\"x\"}",
        ),
        (
            &[
                ("chat_template.jinja", "x"),
                ("tokenizer_config.json", r#"{"bos_token": 1}"#),
            ],
            "/tokenizer_config.json: `bos_token` should be a string or an AddedToken object, found 1",
        ),
        (
            &[
                ("chat_template.jinja", "x"),
                ("tokenizer_config.json", r#"{"chat_control_tokens": "<a>"}"#),
            ],
            "/tokenizer_config.json: `chat_control_tokens` should be a list of strings, found \"<a>\"",
        ),
        (
            &[("chat_template.json", r#"{"template": "x"}"#)],
            "/chat_template.json: `chat_template` should be a string or a list of {name, template}, found null",
        ),
        (
            &[("tokenizer_config.json", "{}")],
            " has no chat template: expected chat_template.jinja, chat_template.json, or",
        ),
        (
            &[
                ("chat_template.json", "{}"),
                ("additional_chat_templates/a.jinja", ""),
            ],
            " has both the old chat_template.json and additional_chat_templates/",
        ),
    ] {
        let folder = folder(files);
        let error = TemplateSet::from_folder(folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&folder.path().display().to_string()),
            "{error}"
        );
        assert!(error.contains(message), "{error}\n{message}");
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let folder = folder(&[
        ("additional_chat_templates/rag.jinja", "x"),
        ("additional_chat_templates/tool_use.jinja", "y"),
    ]);
    let set = TemplateSet::from_folder(folder.path()).unwrap();
    let error = set.default_template().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no chat template is named \"default\"; there are: rag, tool_use"
    );
    assert_eq!(set.tool_template().unwrap().source(), "y");
}

#[test]
fn a_syntax_error_names_the_file_and_the_line() {
    let folder = folder(&[("chat_template.jinja", "\n\n{% fi %}")]);
    let error = ChatTemplate::from_folder(folder.path()).unwrap_err();
    let file = Path::new(folder.path()).join("chat_template.jinja");
    assert!(
        error
            .to_string()
            .contains(&format!("{}\", line 3", file.display())),
        "{error}"
    );
}
