//! Every example file that users start from is read by the code it is for.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, their helpers too")]

use std::path::{Path, PathBuf};

use atelier_policy::Ruleset;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn examples(prefix: &str) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(deploy().join("config")).unwrap();
    let named = folder.map(|entry| entry.unwrap().path());
    named.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
}

#[test]
fn policies_are_valid() {
    let policies = examples("policy");
    assert!(!policies.is_empty());
    for path in policies {
        let text = std::fs::read_to_string(&path).unwrap();
        Ruleset::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
