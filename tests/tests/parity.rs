//! Our arithmetic beside the reference's numbers, by the command that anybody can run on sets of their own.

#![expect(clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

fn golden(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(part)
}

/// `model/` in a folder: the model's own files beside those that it shares with others.
fn model(name: &str) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("readable").flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).expect("copied");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    copy(&golden("pipelines/shared"), &folder.path().join("model"));
    copy(&golden("pipelines").join(name), &folder.path().join("model"));
    folder
}

fn pipeline(model: &Path, expected: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parity"))
        .arg("pipeline")
        .args([model, expected])
        .arg("--store")
        .arg(golden("pipelines"))
        .output()
        .expect("it starts")
}

/// Checks a model; how many sets were compared.
fn sets(name: &str) -> usize {
    let folder = model(name);
    let output = pipeline(&folder.path().join("model"), &golden("pipelines").join(name).join("expected.npz"));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}: {report}{}", String::from_utf8_lossy(&output.stderr));
    report.lines().count() - 2
}

#[test]
fn pipelines_follow_the_reference_from_noise_to_picture() {
    for (name, count) in [
        ("plain", 30),
        ("masked", 2),
        ("consistency", 3),
        ("controlled", 2),
        ("controlled_twice", 1),
        ("large", 7),
        ("flow", 3),
    ] {
        assert_eq!(sets(name), count, "{name}");
    }
}

#[test]
fn a_pipeline_with_other_latents_does_not_pass() {
    let folder = model("masked");
    let config = folder.path().join("model/vae_encoder/config.json");
    for config in [config, folder.path().join("model/vae_decoder/config.json")] {
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains("0.18215"));
        fs::write(&config, text.replace("0.18215", "0.18")).unwrap();
    }
    let output = pipeline(&folder.path().join("model"), &golden("pipelines/masked/expected.npz"));
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("past the bound"));
}

fn parity(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parity")).arg("schedulers").arg(folder).output().expect("it starts")
}

#[test]
fn schedulers_follow_the_reference_step_by_step() {
    let output = parity(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/schedulers"));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.lines().count() > 70, "every set is checked: {report}");
}

#[test]
fn another_schedule_does_not_pass() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/schedulers");
    let folder = tempfile::tempdir().unwrap();
    for name in ["common.npz", "euler_s10_g1.0.npz"] {
        fs::copy(golden.join(name), folder.path().join(name)).unwrap();
    }
    let config = fs::read_to_string(golden.join("euler.config.json")).unwrap();
    assert!(config.contains("0.012"));
    fs::write(folder.path().join("euler.config.json"), config.replace("0.012", "0.0121")).unwrap();
    let output = parity(folder.path());
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("past the bound"));
}
