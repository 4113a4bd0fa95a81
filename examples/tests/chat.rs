//! Conversations with `generate`: commands from a pipe, and Ctrl-C on a terminal.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vlm/tests/fixtures");

/// A conversation of given lines, from a pipe.
fn talk(model: &str, lines: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_generate"))
        .args(["--model", &format!("{FIXTURES}/{model}")])
        .args(["--max-new-tokens", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn commands_and_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a talk.json");
    let lines = [
        "/help",
        &format!("/image '{FIXTURES}/images/chelsea.png'"),
        "What is it?",
        "/history",
        &format!("/save \"{}\"", file.display()),
        "/image",
        "/image no.png",
        "/wave",
        "/draw a.png",
        "/reset",
        "/history",
        "Why?",
    ];
    let output = talk("llava/clip-llama", &lines);
    let said = said(&output);
    for part in [
        "/help         this list",
        "> [picture] What is it?",
        "a talk.json: 2 messages",
        "error: /image: expected a path",
        "error: no.png: No such file",
        "/wave is no command",
        "error: /draw: answers of this model's family have no boxes",
        "5 written",
        "cut off by --max-new-tokens",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert_eq!(said.matches("> [picture]").count(), 1, "{said}");
    // The way back: what was saved is a question to the same model.
    let saved: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let question = json!([{ "type": "image" }, { "type": "text", "text": "What is it?" }]);
    assert_eq!(saved[0], json!({ "role": "user", "content": question }));
    assert_eq!(saved[1]["role"], "assistant");
    assert!(!Path::new("a.png").exists());
}

#[test]
fn a_checkpoint_without_a_template_answers_questions_alone() {
    let lines = [
        &format!("/image {FIXTURES}/images/coffee.png"),
        "What is it?",
        "What is it?",
    ];
    let output = talk("kosmos2/grounding", &lines);
    assert!(said(&output).contains("no chat template"), "{output:?}");
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0], answers[1]);
}

/// `generate` on a terminal of its own, which `script` of util-linux makes.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
    read: usize,
}

impl Terminal {
    /// Nothing where the system has another `script`, or none.
    fn open(command: &str) -> Option<Self> {
        let version = Command::new("script").arg("--version").output().ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("util-linux") {
            return None;
        }
        let mut child = Command::new("script")
            .args(["-qec", command, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let copy = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                *copy.lock().unwrap() += &String::from_utf8_lossy(&bytes[..count]);
            }
        });
        Some(Self {
            child,
            shown,
            read: 0,
        })
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits until `wanted` is shown after all that was waited for before.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> Option<usize>) {
        let start = Instant::now();
        loop {
            let shown = self.shown.lock().unwrap().clone();
            if let Some(end) = wanted(&shown[self.read..]) {
                self.read += end;
                return;
            }
            let late = start.elapsed() > Duration::from_secs(120);
            assert!(!late, "{what} did not come: {:?}", &shown[self.read..]);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for_text(&mut self, text: &str) {
        self.wait_for(text, |shown| Some(shown.find(text)? + text.len()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tiny model that goes on for tens of thousands of tokens.
fn endless() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = Path::new(FIXTURES).join("llava/clip-llama");
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(copy.path().join("generation_config.json"), "{}").unwrap();
    let path = copy.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["text_config"]["max_position_embeddings"] = json!(50_000);
    std::fs::write(path, config.to_string()).unwrap();
    copy
}

#[test]
fn ctrl_c_stops_the_answer_and_then_the_program() {
    const CTRL_C: &str = "\u{3}";
    let model = endless();
    let program = env!("CARGO_BIN_EXE_generate");
    let model = model.path().display();
    let flags = "--max-new-tokens 40000 --temperature 1";
    // In the shell's place: a shell that waited would take Ctrl-C for its own end.
    let command = format!("exec '{program}' --model '{model}' {flags}");
    let Some(mut terminal) = Terminal::open(&command) else {
        eprintln!("no `script` of util-linux: not tested");
        return;
    };
    terminal.wait_for_text("> ");
    for question in ["Hello\n", "Once more\n"] {
        terminal.press(question);
        terminal.wait_for_text(question.trim_end());
        terminal.wait_for("an answer", |shown| {
            (shown.len() > 200).then(|| shown.floor_char_boundary(200))
        });
        terminal.press(CTRL_C);
        terminal.wait_for_text(", stopped]");
        terminal.wait_for_text("> ");
    }
    // A single one at the prompt leaves the conversation as it is.
    terminal.press(CTRL_C);
    terminal.wait_for_text("leaves.");
    terminal.press("/history\n");
    terminal.wait_for_text("> Once more");
    terminal.wait_for_text("\n> ");
    terminal.press(CTRL_C);
    terminal.wait_for_text("leaves.");
    terminal.press(CTRL_C);
    let status = terminal.child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
}
