//! Every file of `tests/cases` against the golden that transformers made of it.
//!
//! To add a case, add a file and run `python reference/chat_templates.py`.

mod common;

use std::{fs, path::Path};

use serde_json::{Value, json};
use vlm_chat_template::{Error, TemplateSet};

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares all cases of which `ours` gives an outcome.
fn compare(ours: impl Fn(&Value) -> Option<Value>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| !path.to_string_lossy().ends_with(".golden.json"));
    paths.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for path in paths {
        let Some(ours) = ours(&read(&path)) else {
            continue;
        };
        let golden = read(&path.with_extension("golden.json"));
        count += 1;
        if !common::agrees(&ours, &golden) {
            failures.push(format!(
                "{}\n  ours   {ours}\n  golden {golden}",
                path.display()
            ));
        }
    }
    assert!(count > 0, "no cases found");
    assert!(
        failures.is_empty(),
        "{} of {count} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn templates_render_as_in_the_reference() {
    compare(|case| {
        let source = match (case["template"].as_str(), case["source"].as_str()) {
            (Some(file), _) => {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
                fs::read_to_string(folder.join(file)).unwrap()
            }
            (_, Some(source)) => source.to_owned(),
            _ => return None,
        };
        Some(common::outcome(case, "case", &source))
    });
}

/// The engine's differences from jinja2 that are left, each with its reason.
const KNOWN: &[(&str, &str)] = &[
    (
        "{{ x < 1 }}",
        "an undefined value has a place in minijinja's order; jinja2 fails",
    ),
    (
        "{% for a in none %}{{ a }}{% endfor %}",
        "minijinja loops over none as over an empty list; jinja2 fails",
    ),
    (
        "{{ '%s|%d|%5.2f|%r' % ('a', 3, 1.5, 'q') }}",
        "minijinja has no %r",
    ),
    (
        "{{ '{0:>5}|{1:.2f}|{2!r}'.format('a', 2.0, 'b') }}",
        "minijinja has no !r",
    ),
    (
        "{% set _x = namespace(_y=1) %}{{ _x._y }}",
        "the sandbox guards Python's internals, of which there are none here",
    ),
    ("{{ namespace(a=1) }}", "a namespace prints as a dict"),
    ("{{ self }}", "there are no template references"),
    (
        "{{ -messages[0].n }}{{ +1 }}",
        "minijinja has no unary plus",
    ),
    (
        "{{ lipsum is defined }}{{ dict is defined }}{{ range is defined }}{{ debug is defined }}",
        "no lipsum",
    ),
    (
        "{{ [1,2,3]|batch(linecount=2)|list }}",
        "batch and slice take their arguments by place",
    ),
    (
        "{{ [1,2,3]|batch(2, fill_with='x')|list }}",
        "batch and slice take their arguments by place",
    ),
    (
        "{{ [1,2,3]|slice(slices=2)|list }}",
        "batch and slice take their arguments by place",
    ),
    (
        "{{ [{'a':2},{'a':1}]|sort(true, false, 'a') }}",
        "sort and dictsort take most arguments by name",
    ),
    (
        "{{ {'b':1,'a':2}|dictsort(false, 'value') }}",
        "sort and dictsort take most arguments by name",
    ),
    ("{{ messages[0]|attr('role') }}", "attr finds items as well"),
    ("{{ 'a.b'|attr('split')('.') }}", "methods are no values"),
    ("{{ 'abc'|random|length }}", "no prompt is made by chance"),
    ("{{ 'a b'|urlencode }}", "no filters for web pages"),
    ("{{ [1,2]|pprint }}", "pprint has its own layout"),
    ("{{ {'a':1}|pprint }}", "pprint has its own layout"),
    ("{{ '<p>'|forceescape }}", "no filters for web pages"),
    ("{{ {'a':1}|xmlattr }}", "no filters for web pages"),
    ("{{ 'http://x.org'|urlize }}", "no filters for web pages"),
    ("{{ 'a b c'|wordwrap(3) }}", "no wordwrap"),
];

#[test]
fn expressions_have_the_values_of_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut failures = Vec::new();
    let mut known = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("snippets_") || name.ends_with(".golden.json") {
            continue;
        }
        let (case, golden) = (read(&path), read(&path.with_extension("golden.json")));
        let outputs = golden["outputs"].as_array().unwrap();
        let snippets = case["snippets"].as_array().unwrap();
        assert_eq!(outputs.len(), snippets.len(), "{name} has an old golden");
        for (snippet, golden) in snippets.iter().zip(outputs) {
            let snippet = snippet.as_str().unwrap();
            let ours = common::outcome(&case, "snippet", snippet);
            if common::agrees(&ours, golden) {
                continue;
            }
            match KNOWN.iter().find(|(source, _)| *source == snippet) {
                Some((source, _)) => known.push(*source),
                None => failures.push(format!("{snippet}\n  ours   {ours}\n  golden {golden}")),
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    let mended: Vec<_> = KNOWN
        .iter()
        .filter(|(source, _)| !known.contains(source))
        .collect();
    assert!(
        mended.is_empty(),
        "no longer different, take them off the list: {mended:?}"
    );
}

#[test]
fn checkpoint_folders_are_read_as_in_the_reference() {
    compare(|case| {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in case["files"].as_object()? {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = content
                .as_str()
                .map_or_else(|| content.to_string(), str::to_owned);
            fs::write(path, text).unwrap();
        }
        Some(
            load(folder.path())
                .unwrap_or_else(|error| json!({"error": {"ours": error.to_string()}})),
        )
    });
}

fn load(folder: &Path) -> Result<Value, Error> {
    let set = TemplateSet::from_folder(folder)?;
    let mut golden = json!({"templates": {}, "special_tokens": {}});
    for name in set.names() {
        let template = set.template(name)?;
        golden["templates"][name] = template.source().into();
        for (key, token) in template.special_tokens().iter() {
            golden["special_tokens"][key] = token.into();
        }
        if name == "default" {
            let tokens: Vec<_> = template.control_tokens().unwrap().iter().collect();
            golden["control_tokens"] = json!(tokens);
        }
    }
    Ok(golden)
}
