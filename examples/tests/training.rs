//! The train program on the tests' tiny LLaVA: what it writes loads, and a run that was killed goes on to the same
//! losses.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vlm/tests/fixtures")
}

fn model() -> PathBuf {
    fixtures().join("llava/clip-llama")
}

/// Ten conversations about the tests' pictures, and a folder for runs.
fn data() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let pictures = ["chelsea.png", "coffee.png", "astronaut.png"];
    let lines: Vec<String> = (0..10)
        .map(|index| {
            let picture = fixtures().join("images").join(pictures[index % 3]);
            serde_json::json!({
                "images": [picture],
                "messages": [
                    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": format!("Number {index}?")}]},
                    {"role": "assistant", "content": [{"type": "text", "text": "A picture".repeat(1 + index % 4)}]},
                ],
            })
            .to_string()
        })
        .collect();
    let file = folder.path().join("data.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    (folder, file)
}

fn train(data: &Path, output: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command
        .arg("--model")
        .arg(model())
        .arg("--data")
        .arg(data)
        .arg("--output")
        .arg(output)
        .args([
            "--format",
            "json",
            "--batch-size",
            "2",
            "--learning-rate",
            "1e-3",
        ])
        .args(flags);
    command
}

fn done(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// The log's steps without what clocks decide.
fn log(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("tokens_per_s");
        line
    });
    lines.collect()
}

fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap()
}

/// Kills a run at some moments, each later than the one before, and goes on with it until it is done; returns how
/// often it was killed.
fn kill_and_resume(data: &Path, output: &Path, flags: &[&str], whole: Duration) -> u32 {
    let flags = [flags, &["--resume"]].concat();
    let mut kills = 0;
    loop {
        let mut run = train(data, output, &flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A different moment of every run of the test.
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let random = f64::from(nanos.unwrap().subsec_nanos() % 1000) / 1000.0;
        let moment = whole.mul_f64(0.3 + 0.2 * f64::from(kills) + 0.4 * random);
        let end = Instant::now() + moment;
        while Instant::now() < end {
            if let Some(status) = run.try_wait().unwrap() {
                assert!(status.success());
                return kills;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        kills += 1;
    }
}

#[test]
fn a_killed_run_goes_on_to_the_same_losses() {
    let (folder, data) = data();
    for (name, flags, file) in [
        (
            "lora",
            &["--train", "lora", "--lora-dropout", "0.3"][..],
            "adapter_model.safetensors",
        ),
        (
            "all",
            &["--train", "all", "--gradient-accumulation", "2"],
            "model.safetensors",
        ),
    ] {
        let flags = [flags, &["--steps", "12", "--save-every", "2"]].concat();
        let whole = folder.path().join(format!("{name}-whole"));
        let begun = Instant::now();
        done(train(&data, &whole, &flags));
        let took = begun.elapsed();
        let killed = folder.path().join(format!("{name}-killed"));
        let mut moment = took;
        while kill_and_resume(&data, &killed, &flags, moment) == 0 {
            // It was faster than the run before it.
            std::fs::remove_dir_all(&killed).unwrap();
            moment = moment.mul_f64(0.5);
        }
        assert_eq!(log(&killed), log(&whole), "{name}");
        assert!(
            bytes(&killed, file) == bytes(&whole, file),
            "{name}: {file}"
        );
        let again = folder.path().join(format!("{name}-again"));
        done(train(&data, &again, &flags));
        assert_eq!(log(&again), log(&whole), "{name}: twice");
    }
}

#[test]
fn two_devices_take_a_doubled_batch() {
    let (folder, data) = data();
    let losses = |name: &str, flags: &[&str]| -> Vec<f64> {
        let output = folder.path().join(name);
        let flags = [&["--train", "all", "--steps", "6"], flags].concat();
        done(train(&data, &output, &flags));
        let losses = log(&output)
            .into_iter()
            .map(|line| line["loss"].as_f64().unwrap());
        losses.collect()
    };
    let two = losses("two", &["--device", "flex,flex", "--batch-size", "2"]);
    let one = losses("one", &["--device", "flex", "--batch-size", "4"]);
    for (two, one) in two.iter().zip(&one) {
        assert!((two - one).abs() / one < 1e-5, "{two} for {one}");
    }
    assert_eq!(one.len(), 6);
}

#[test]
fn another_run_is_refused_by_name() {
    let (folder, data) = data();
    let output = folder.path().join("out");
    let flags = ["--train", "lora", "--steps", "2"];
    done(train(&data, &output, &flags));
    let said = refused(train(&data, &output, &flags));
    assert!(said.contains("there is a run already"), "{said}");
    for (changed, name) in [
        (
            &["--seed", "7"][..],
            "--seed: the run that is to go on began with 0, found 7",
        ),
        (
            &["--lora-rank", "3"],
            "--lora-rank: the run that is to go on began with 8, found 3",
        ),
        (
            &["--steps", "4"],
            "--steps: the run that is to go on began with 2, found 4",
        ),
    ] {
        let flags = [&flags[..], changed, &["--resume"]].concat();
        let said = refused(train(&data, &output, &flags));
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn what_was_trained_answers() {
    let (folder, data) = data();
    let image = fixtures().join("images/chelsea.png");
    for (name, flag) in [("lora+projector", "--adapter"), ("projector", "--model")] {
        let output = folder.path().join(name);
        let steps = [
            "--train",
            name,
            "--steps",
            "3",
            "--eval-every",
            "2",
            "--eval-data",
        ];
        let mut command = train(&data, &output, &steps);
        command.arg(&data);
        let printed = String::from_utf8(done(command).stdout).unwrap();
        let lines: Vec<Value> = printed
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.get("loss").is_some())
                .count(),
            3
        );
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.get("eval_loss").is_some())
                .count(),
            2
        );
        assert!(lines[0]["grad_norm"].as_f64().unwrap() > 0.0 && lines[0]["tokens"] != 0);
        for file in ["README.md", "loss.png", "metrics.jsonl"] {
            assert!(output.join(file).is_file(), "{file}");
        }
        let mut generate = Command::new(env!("CARGO_BIN_EXE_generate"));
        if flag == "--adapter" {
            generate.arg("--model").arg(model());
        }
        generate.arg(flag).arg(&output).arg("--image").arg(&image);
        generate.args(["--max-new-tokens", "3", "--format", "json", "What is it?"]);
        done(generate);
    }
}

#[test]
fn patience_ends_a_run_at_its_best() {
    let (folder, data) = data();
    let output = folder.path().join("out");
    // A rate that soon makes everything worse.
    let flags = [
        "--train",
        "all",
        "--steps",
        "30",
        "--eval-every",
        "1",
        "--patience",
        "2",
    ];
    let mut command = train(&data, &output, &flags);
    command
        .args([
            "--learning-rate",
            "0.3",
            "--max-grad-norm",
            "0",
            "--eval-data",
        ])
        .arg(&data);
    done(command);
    let log = log(&output);
    let evals: Vec<f64> = log
        .iter()
        .filter_map(|line| line["eval_loss"].as_f64())
        .collect();
    let best = (0..evals.len())
        .min_by(|a, b| evals[*a].total_cmp(&evals[*b]))
        .unwrap();
    assert_eq!(evals.len(), best + 3, "{evals:?}");
    let best = output.join(format!("checkpoint-{}", best + 1));
    let weights = "model.safetensors";
    assert!(bytes(&output, weights) == bytes(&best, weights));
}

#[test]
fn flags_that_do_not_go_together_are_named() {
    let (folder, data) = data();
    let output = folder.path().join("out");
    for (flags, message) in [
        (
            &["--train", "all", "--adapter", "x"][..],
            "--adapter is for --train lora",
        ),
        (
            &["--train", "lora", "--lora-targets", "nope"],
            "LoRA target `nope` fits no projection",
        ),
        (
            &["--train", "all", "--warmup-ratio", "2"],
            "--warmup-ratio: expected from 0 to 1, found 2",
        ),
        (&["--train", "all", "--packing"], "--max-length"),
        (&["--train", "all", "--patience", "2"], "--eval-data"),
        (
            &["--train", "all", "--device", "flex,tpu"],
            "device `tpu` is not known",
        ),
        (
            &["--train", "all", "--push-to-hub", "name"],
            "--push-to-hub: expected owner/name, found name",
        ),
        (
            &["--train", "all", "--max-length", "3", "--too-long", "skip"],
            "all samples of a pass were left out",
        ),
        (&["--train", "some"], "some"),
    ] {
        let output = train(&data, &output, flags).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(message), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        assert!(!said.contains("fault of the program"), "{said}");
    }
}
