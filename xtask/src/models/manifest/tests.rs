use std::fs::OpenOptions;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A folder with two files and its manifest.
fn folder(first: &[u8], second: &[u8]) -> (TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let mut files = BTreeMap::new();
    for (name, content) in [("model.onnx", first), ("tokenizer.json", second)] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        files.insert(name.to_owned(), FileEntry::of(&path).unwrap());
    }
    let manifest = Manifest {
        id: "a".to_owned(),
        task: "text-embedding".to_owned(),
        license: "MIT".to_owned(),
        source: String::new(),
        version: "1".to_owned(),
        files,
        options: serde_json::Map::new(),
    };
    (folder, manifest)
}

#[test]
fn hashes_are_sha256() {
    let (folder, _) = folder(b"abc", b"");
    let entry = FileEntry::of(&folder.path().join("model.onnx")).unwrap();
    assert_eq!(entry.bytes, 3);
    // The first test vector of FIPS 180-4.
    assert_eq!(entry.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn a_missing_file_is_named() {
    let (folder, manifest) = folder(b"weights", b"words");
    assert!(manifest.problems(folder.path(), Depth::Hashes).is_empty());
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(manifest.problems(folder.path(), Depth::Sizes), ["tokenizer.json: missing"]);
}

#[test]
fn a_damaged_manifest_is_an_error_and_an_absent_one_is_not() {
    let (folder, manifest) = folder(b"weights", b"words");
    assert!(Manifest::read(folder.path()).unwrap().is_none());
    let path = folder.path().join(MANIFEST);
    fs::write(&path, serde_json::to_string(&manifest).unwrap()).unwrap();
    assert_eq!(Manifest::read(folder.path()).unwrap(), Some(manifest));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(20).unwrap();
    assert!(Manifest::read(folder.path()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_is_named(content in proptest::collection::vec(any::<u8>(), 1..4_000), keep in any::<prop::sample::Index>()) {
        let (folder, manifest) = folder(&content, b"words");
        let file = OpenOptions::new().write(true).open(folder.path().join("model.onnx")).unwrap();
        file.set_len(keep.index(content.len()) as u64).unwrap();
        for depth in [Depth::Sizes, Depth::Hashes] {
            let problems = manifest.problems(folder.path(), depth);
            prop_assert_eq!(problems.len(), 1);
            prop_assert!(problems[0].starts_with("model.onnx: "), "{}", problems[0]);
        }
    }

    #[test]
    fn any_flipped_bit_is_named(
        content in proptest::collection::vec(any::<u8>(), 1..4_000),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let (folder, manifest) = folder(b"weights", &content);
        let mut tampered = content.clone();
        tampered[at.index(content.len())] ^= 1 << bit;
        fs::write(folder.path().join("tokenizer.json"), tampered).unwrap();
        prop_assert!(manifest.problems(folder.path(), Depth::Sizes).is_empty());
        let problems = manifest.problems(folder.path(), Depth::Hashes);
        prop_assert_eq!(problems.len(), 1);
        prop_assert!(problems[0].starts_with("tokenizer.json: sha256"), "{}", problems[0]);
    }
}
