//! Our arithmetic beside the reference's numbers, by the command that anybody can run on sets of their own.

#![expect(clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

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
