//! `generate` without `--model`.

use std::{path::Path, process::Command};

#[test]
fn the_model_that_ships_reads_a_digit_that_it_never_saw() {
    let elsewhere = tempfile::tempdir().unwrap();
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("world/pictures/digit.png");
    let output = Command::new(env!("CARGO_BIN_EXE_generate"))
        .current_dir(elsewhere.path())
        .arg("--image")
        .arg(picture)
        .arg("Which digit is this?")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "5");
}
