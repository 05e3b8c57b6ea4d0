//! Keeps the house rules of ARCHITECTURE.md: who may import whom, and which names may appear where.

#![expect(clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// A crate of the workspace and the crates of the workspace it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("atelier-proto", &[]),
    ("atelier-core", &[]),
    ("atelier-inference", &["atelier-core"]),
    ("atelier-policy", &["atelier-core"]),
    ("atelier-av1", &[]),
    ("atelier-resize", &[]),
    ("atelier-media", &["atelier-av1", "atelier-core", "atelier-resize"]),
    ("atelier-scheduler", &[]),
    ("atelier-normalise", &[]),
    ("atelier-likeness", &[]),
    ("atelier-ocr", &["atelier-resize"]),
    ("atelier-pipeline", &["atelier-core", "atelier-inference", "atelier-media", "atelier-scheduler"]),
    (
        "atelier-image",
        &[
            "atelier-core",
            "atelier-inference",
            "atelier-media",
            "atelier-pipeline",
            "atelier-proto",
            "atelier-rpc",
            "atelier-scheduler",
        ],
    ),
    ("atelier-rules", &[]),
    ("atelier-rpc", &["atelier-core", "atelier-proto"]),
    ("atelier-text", &["atelier-core", "atelier-proto", "atelier-inference", "atelier-rpc"]),
    (
        "atelier-moderation",
        &[
            "atelier-core",
            "atelier-media",
            "atelier-proto",
            "atelier-inference",
            "atelier-likeness",
            "atelier-normalise",
            "atelier-ocr",
            "atelier-rpc",
            "atelier-rules",
        ],
    ),
    ("atelier-gateway", &["atelier-core", "atelier-proto", "atelier-policy", "atelier-rpc"]),
    ("atelier-client", &["atelier-proto"]),
    ("xtask", &[]),
];

/// These see everything: the all-in-one binary and the end-to-end tests.
const SEE_ALL: &[&str] = &["atelier-standalone", "atelier-tests"];

/// A third-party crate and the only crates of the workspace that may use it.
const RESERVED: &[(&str, &[&str])] = &[
    ("ort", &["atelier-inference"]),
    ("axum", &["atelier-rpc"]),
    ("opentelemetry", &["atelier-rpc"]),
    ("config", &["atelier-rpc"]),
    ("serde-saphyr", &["atelier-moderation", "atelier-policy", "atelier-rpc"]),
];

/// Third-party crates that the pure crates do without.
const IMPURE: &[&str] = &["tokio", "tonic", "ort", "axum"];
const PURE: &[&str] = &[
    "atelier-core",
    "atelier-likeness",
    "atelier-normalise",
    "atelier-ocr",
    "atelier-policy",
    "atelier-rules",
    "atelier-scheduler",
];

/// Where a `tonic::Status` may be made: everywhere else an error is a `Fault` until the edge.
const MAKES_STATUS: &[&str] = &["services/common/rpc/", "gateway/client/", "tests/", "gateway/tests/"];

/// Past this a file holds a second idea.
const MAX_LINES: usize = 500;

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo metadata runs in the workspace")
}

/// Normal and build dependencies of each crate of the workspace, by name.
fn dependencies(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata.workspace_packages();
    packages
        .into_iter()
        .map(|package| {
            let used = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
            (package.name.to_string(), used.map(|d| d.name.clone()).collect())
        })
        .collect()
}

fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folder is readable").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && name != ".git" && name != "node_modules" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn crates_use_only_what_the_house_rules_allow() {
    let metadata = metadata();
    let dependencies = dependencies(&metadata);
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    for (name, used) in &dependencies {
        if SEE_ALL.contains(&name.as_str()) {
            continue;
        }
        let (_, allowed) = MAY_USE.iter().find(|(known, _)| known == name).unwrap_or_else(|| {
            panic!("{name} is new: say in MAY_USE and in ARCHITECTURE.md what it may use")
        });
        for dependency in used.iter().filter(|dependency| ours.contains(dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not use {dependency}");
        }
    }
}

#[test]
fn reserved_crates_are_used_in_their_room_alone() {
    let dependencies = dependencies(&metadata());
    for (reserved, rooms) in RESERVED {
        for (name, used) in &dependencies {
            assert!(
                !used.contains(*reserved) || rooms.contains(&name.as_str()),
                "{name} must not use {reserved}"
            );
        }
    }
    for name in PURE {
        for impure in IMPURE {
            assert!(!dependencies[*name].contains(*impure), "{name} is pure and must not use {impure}");
        }
    }
}

#[test]
fn statuses_are_made_in_the_rpc_kit_alone() {
    let root = PathBuf::from(metadata().workspace_root);
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        if MAKES_STATUS.iter().any(|room| relative.starts_with(room)) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("source is UTF-8");
        // A file's tests come last in it; what they make never meets a caller.
        let shipped = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        for (number, line) in shipped.enumerate() {
            let makes = line.match_indices("Status::").any(|(at, _)| {
                let starts_word = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                let called = line[at + "Status::".len()..].starts_with(|c: char| c.is_ascii_lowercase());
                starts_word && called && !line[at..].starts_with("Status::ok")
            });
            assert!(!makes, "{relative}:{} makes a tonic::Status; return a Fault", number + 1);
        }
    }
}

#[test]
fn files_hold_one_idea() {
    let root = PathBuf::from(metadata().workspace_root);
    let long: Vec<_> = sources(&root)
        .into_iter()
        .filter_map(|path| {
            let lines = fs::read_to_string(&path).expect("source is UTF-8").lines().count();
            (lines > MAX_LINES).then(|| format!("{} ({lines})", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines, look for the second idea: {long:?}");
}
