//! `train --push-to-hub` against a server on this machine that speaks the hub's protocol as far as files go that
//! travel inside the commit. Large files travel in chunks through another service, which cannot be shown so.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

/// What was asked: method and path, and the body.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

fn hub() -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &seen);
        }
    });
    (address, requests)
}

fn answer(mut stream: TcpStream, seen: &Requests) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    let mut token = false;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        token |= header == "authorization: bearer hf_secret";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let asked = first
        .rsplit_once(' ')
        .map_or("", |(asked, _)| asked)
        .to_owned();
    let answer = match asked.as_str() {
        _ if !token => json!({"error": "who are you?"}),
        "POST /api/repos/create" => json!({"url": "http://hub/owner/name"}),
        "POST /api/models/owner/name/preupload/main" => {
            let body: Value = serde_json::from_str(&body).unwrap();
            let files = body["files"].as_array().unwrap().iter();
            let files = files.map(|file| json!({"path": file["path"], "uploadMode": "regular"}));
            json!({"files": files.collect::<Vec<_>>()})
        }
        _ => json!({"commitUrl": "http://hub/owner/name/commit/1", "commitOid": "1"}),
    };
    seen.lock().unwrap().push((asked, body));
    let status = if token { "200 OK" } else { "401 Unauthorized" };
    let answer = answer.to_string();
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
    )
    .unwrap();
}

fn train(output: &Path, address: &str, token: &str) -> std::process::Output {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vlm/tests/fixtures");
    let folder = output.parent().unwrap();
    let data = folder.join("data.jsonl");
    let messages = [
        json!({"role": "user", "content": "Hi"}),
        json!({"role": "assistant", "content": "Hello"}),
    ];
    std::fs::write(&data, json!({ "messages": messages }).to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_train"))
        .env("HF_ENDPOINT", address)
        .env("HF_TOKEN", token)
        .env("HF_HOME", folder)
        .arg("--model")
        .arg(fixtures.join("llava/clip-llama"))
        .arg("--data")
        .arg(&data)
        .arg("--output")
        .arg(output)
        .args([
            "--train",
            "lora",
            "--steps",
            "1",
            "--push-to-hub",
            "owner/name",
        ])
        .output()
        .unwrap()
}

#[test]
fn what_was_trained_is_one_commit_without_the_runs_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let (address, requests) = hub();
    let output = train(&folder.path().join("out"), &address, "hf_secret");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("pushed: http://hub/owner/name/commit/1"),
        "{said}"
    );
    let requests = requests.lock().unwrap();
    let asked: Vec<&str> = requests.iter().map(|(asked, _)| asked.as_str()).collect();
    assert_eq!(
        asked,
        [
            "POST /api/repos/create",
            "POST /api/models/owner/name/preupload/main",
            "POST /api/models/owner/name/commit/main",
        ]
    );
    let lines = requests[2]
        .1
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let files = lines.iter().filter(|line| line["key"] == "file");
    let mut files: Vec<&str> = files
        .map(|line| line["value"]["path"].as_str().unwrap())
        .collect();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "loss.png",
            "metrics.jsonl",
        ]
    );
}

#[test]
fn a_refused_push_keeps_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = hub();
    let output = folder.path().join("out");
    let pushed = train(&output, &address, "hf_wrong");
    let said = String::from_utf8(pushed.stderr).unwrap();
    assert_eq!(pushed.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("error: model `owner/name`"), "{said}");
    assert!(output.join("adapter_model.safetensors").is_file());
}
