use std::path::Path;

use super::*;

fn folder(files: &[(&str, &str)], with_manifest: bool) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("tiny");
    fs::create_dir_all(model.join("sub")).unwrap();
    let mut entries = BTreeMap::new();
    for (name, text) in files {
        fs::write(model.join(name), text).unwrap();
        entries.insert((*name).to_owned(), hash_file(&model.join(name)).unwrap());
    }
    if with_manifest {
        let manifest = Manifest {
            id: ModelId::new("tiny").unwrap(),
            task: "text-embedding".to_owned(),
            license: "MIT".to_owned(),
            source: String::new(),
            version: String::new(),
            files: entries,
            options: serde_json::from_str(r#"{"prefix": "query: "}"#).unwrap(),
        };
        fs::write(model.join(MANIFEST), serde_json::to_string(&manifest).unwrap()).unwrap();
    }
    root
}

fn open(root: &Path) -> Result<ModelFolder, InferenceError> {
    ModelStore::new(root.to_owned()).open("tiny")
}

const FILES: &[(&str, &str)] = &[("model.onnx", "graph"), ("sub/weights.data", "weights")];

#[test]
fn the_revision_depends_on_the_content_alone() {
    let (listed, unlisted) = (folder(FILES, true), folder(FILES, false));
    let (listed, unlisted) = (open(listed.path()).unwrap(), open(unlisted.path()).unwrap());
    assert_eq!(listed.model(), unlisted.model());
    assert_eq!(listed.model().revision.as_str().len(), 12);
    assert_eq!((listed.license(), unlisted.license()), ("MIT", ""));

    let other = folder(&[("model.onnx", "graph"), ("sub/weights.data", "Weights")], false);
    assert_ne!(open(other.path()).unwrap().model().revision, listed.model().revision);
}

#[test]
fn a_bad_file_is_refused_by_name() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 4] = [
        ("8 bytes", |file| fs::write(file, "weights!").unwrap()),
        ("SHA-256", |file| fs::write(file, "weightz").unwrap()),
        ("6 bytes", |file| fs::write(file, "weight").unwrap()),
        ("No such file", |file| fs::remove_file(file).unwrap()),
    ];
    for (problem, spoil) in cases {
        let root = folder(FILES, true);
        spoil(&root.path().join("tiny/sub/weights.data"));
        let error = open(root.path()).unwrap_err();
        let InferenceError::ModelCorrupt { model, file, problem: found } = &error else { panic!("{error}") };
        assert_eq!((model.as_str(), file.as_str()), ("tiny", "sub/weights.data"));
        assert!(found.contains(problem), "{found}");
    }
}

#[test]
fn files_outside_the_manifest_do_not_exist() {
    let root = folder(FILES, true);
    fs::write(root.path().join("tiny/extra.onnx"), "x").unwrap();
    let model = open(root.path()).unwrap();
    assert!(model.file("model.onnx").unwrap().is_file());
    assert!(model.file("extra.onnx").unwrap_err().to_string().contains("extra.onnx"));
    assert!(model.file("../tiny/model.onnx").is_err());
}

#[test]
fn names_cannot_leave_the_store() {
    let root = folder(FILES, false);
    let store = ModelStore::new(root.path().join("tiny"));
    assert!(store.open("sub").is_ok());
    for id in ["../tiny", "sub/../../tiny", "/etc", "", "nothing"] {
        assert!(matches!(store.open(id), Err(InferenceError::ModelNotFound { .. })), "{id:?}");
    }
}

#[test]
fn a_manifest_cannot_list_files_outside_its_folder() {
    let root = folder(FILES, true);
    let path = root.path().join("tiny").join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap().replace("sub/weights", "../tiny/sub/weights");
    fs::write(&path, text).unwrap();
    assert!(open(root.path()).unwrap_err().to_string().contains("outside"));
}

#[test]
fn options_are_typed() {
    #[derive(Deserialize)]
    struct Options {
        prefix: String,
    }
    let root = folder(FILES, true);
    let model = open(root.path()).unwrap();
    assert_eq!(model.options::<Options>().unwrap().prefix, "query: ");
    assert!(model.options::<BTreeMap<String, u32>>().is_err());
}
