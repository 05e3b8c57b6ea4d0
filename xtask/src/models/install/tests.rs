use std::{
    collections::BTreeMap,
    io::Read,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::*;
use crate::{models::manifest::Depth, paths::Home};

fn manifest(version: &str) -> Manifest {
    Manifest {
        id: "a".to_owned(),
        task: "text-embedding".to_owned(),
        license: "MIT".to_owned(),
        source: String::new(),
        version: version.to_owned(),
        files: BTreeMap::new(),
        options: serde_json::Map::new(),
    }
}

fn install(parent: &Path, version: &str) {
    let staging = Staging::new(parent, "a").unwrap();
    fs::write(staging.path().join("model.onnx"), version.repeat(1000)).unwrap();
    staging.commit(manifest(version)).unwrap();
}

fn names(parent: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(parent)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_commit_lists_hashes_and_leaves_nothing_beside() {
    let parent = tempfile::tempdir().unwrap();
    install(parent.path(), "1");
    install(parent.path(), "2");
    assert_eq!(names(parent.path()), ["a"]);
    let folder = parent.path().join("a");
    let manifest = Manifest::read(&folder).unwrap().unwrap();
    assert_eq!(manifest.version, "2");
    assert_eq!(manifest.files.keys().collect::<Vec<_>>(), ["model.onnx"]);
    assert!(manifest.problems(&folder, Depth::Hashes).is_empty());
    let mode = fs::metadata(folder.join("model.onnx")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, FILE_MODE);
}

#[test]
fn files_of_subfolders_are_listed_with_their_path() {
    let parent = tempfile::tempdir().unwrap();
    let staging = Staging::new(parent.path(), "a").unwrap();
    fs::write(staging.path().join("model_index.json"), "{}").unwrap();
    fs::create_dir(staging.path().join("transformer")).unwrap();
    fs::write(staging.path().join("transformer/model.onnx"), "weights").unwrap();
    staging.commit(manifest("1")).unwrap();
    let folder = parent.path().join("a");
    let manifest = Manifest::read(&folder).unwrap().unwrap();
    assert_eq!(manifest.files.keys().collect::<Vec<_>>(), ["model_index.json", "transformer/model.onnx"]);
    assert!(manifest.problems(&folder, Depth::Hashes).is_empty());
    fs::remove_file(folder.join("transformer/model.onnx")).unwrap();
    assert_eq!(manifest.problems(&folder, Depth::Sizes), ["transformer/model.onnx: missing"]);
}

#[test]
fn an_unfinished_folder_is_never_seen_and_is_swept_up() {
    let parent = tempfile::tempdir().unwrap();
    install(parent.path(), "1");
    let staging = Staging::new(parent.path(), "a").unwrap();
    fs::write(staging.path().join("model.onnx"), "half").unwrap();
    drop(staging);
    assert_eq!(Manifest::read(&parent.path().join("a")).unwrap().unwrap().version, "1");
    sweep(parent.path()).unwrap();
    assert_eq!(names(parent.path()), ["a"]);
}

#[test]
fn a_folder_moved_aside_without_successor_comes_back() {
    let parent = tempfile::tempdir().unwrap();
    install(parent.path(), "1");
    fs::rename(parent.path().join("a"), parent.path().join(".replaced-a")).unwrap();
    sweep(parent.path()).unwrap();
    assert_eq!(Manifest::read(&parent.path().join("a")).unwrap().unwrap().version, "1");
}

#[test]
fn an_open_file_outlives_its_replacement() {
    let parent = tempfile::tempdir().unwrap();
    install(parent.path(), "1");
    let mut open = File::open(parent.path().join("a/model.onnx")).unwrap();
    install(parent.path(), "2");
    let mut content = String::new();
    open.read_to_string(&mut content).unwrap();
    assert_eq!(content, "1".repeat(1000));
}

#[test]
fn the_fallback_replaces_too() {
    let parent = tempfile::tempdir().unwrap();
    let [new, old, aside] = ["new", "old", "aside"].map(|name| parent.path().join(name));
    // A missing `new` makes the exchange fail: the fallback then must leave the old folder findable for `sweep`.
    fs::create_dir(&old).unwrap();
    assert!(exchange(&new, &old, &aside).is_err());
    assert!(aside.is_dir());
}

#[test]
fn a_reader_always_finds_a_manifest() {
    let parent = tempfile::tempdir().unwrap();
    install(parent.path(), "0");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                assert!(Manifest::read(&parent.path().join("a")).unwrap().is_some());
                reads += 1;
            }
            reads
        });
        for version in 1..50 {
            install(parent.path(), &version.to_string());
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn two_pulls_take_turns() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::at(root.path());
    let first = CacheLock::acquire(home.root(), || panic!("nobody holds it")).unwrap();
    let waited = AtomicBool::new(false);
    thread::scope(|scope| {
        let second =
            scope.spawn(|| CacheLock::acquire(home.root(), || waited.store(true, Ordering::SeqCst)).unwrap());
        while !waited.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // Time for the second to go on, if nothing held it.
        thread::park_timeout(Duration::from_millis(20));
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap();
    });
}
