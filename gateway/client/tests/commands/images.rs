//! Commands about pictures.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use atelier_client::proto::{
    gateway::v1::explore_request::Exploration,
    image::v1::{Background, ImageFormat, Interpolation, VideoFormat, latent_point::Point},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{assert_ended, by_line, documents, fake::Gateway, run, run_with_stdin, text};

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn with(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.name(name)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_picture_is_written_where_it_is_wanted() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let (init, mask) = (folder.with("init.png", "beach"), folder.with("mask.png", "black"));
    let output = folder.name("apple.webp");
    let options = [
        "--negative",
        "fog",
        "--steps",
        "5",
        "--seed",
        "3",
        "--size",
        "64x48",
        "--style",
        "flat",
        "--quality",
        "70",
        "--transparent",
        "--init",
        &init,
        "--strength",
        "0.5",
        "--mask",
        &mask,
        "--control",
        &init,
        "--upscale",
        "2",
        "--scheduler",
        "euler",
        "-o",
        &output,
    ];
    let output = run(&gateway, &[&["image", "a red", "apple"], &options[..]].concat());
    assert_ended(&output, 0);
    assert_eq!(read(&folder.path("apple.webp")), "A RED APPLE");
    let expected = format!("{}  64x48  seed 3\n", folder.name("apple.webp"));
    assert_eq!((text(&output.stdout), text(&output.stderr)), (expected.as_str(), ""));

    let asked = gateway.seen.paintings.lock().unwrap()[0].clone();
    let (image, diffusion) = (asked.output.unwrap(), asked.diffusion.unwrap());
    assert_eq!((image.format(), image.background()), (ImageFormat::Webp, Background::Transparent));
    assert_eq!(image.quality, Some(70));
    assert_eq!(
        (diffusion.num_inference_steps, diffusion.width, diffusion.height),
        (Some(5), Some(64), Some(48))
    );
    assert_eq!((diffusion.style.as_str(), diffusion.scheduler.as_str()), ("flat", "euler"));
    assert_eq!(asked.negative_prompt, "fog");
    let start = asked.init_image.unwrap();
    assert_eq!((&*start.data, &*start.mask, start.strength), (&b"beach"[..], &b"black"[..], Some(0.5)));
    assert_eq!((asked.control_images.len(), asked.post_processing.len()), (1, 1));
    assert!(asked.preview.is_none());
}

#[test]
fn several_pictures_are_numbered_and_told_in_json() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let output = run_with_stdin(
        &gateway,
        &[
            "--json",
            "image",
            "--count",
            "2",
            "-o",
            &folder.name("a.png"),
            "--preview-dir",
            &folder.name("steps"),
        ],
        "a sea\n",
    );
    assert_ended(&output, 0);
    assert_eq!(folder.files(), ["a-1.png", "a-2.png", "steps"]);
    let preview = folder.path("steps").join("step-0001.png");
    assert_eq!(read(&preview), "fog");
    let events = documents(&output.stdout);
    assert_eq!(events[0]["event"], "progress");
    assert_eq!(events[0]["previews"], json!([preview]));
    let result = events.last().unwrap();
    assert_eq!((&result["event"], events.len()), (&json!("result"), 3));
    assert_eq!(result["images"][1]["file"], json!(folder.path("a-2.png")));
    assert_eq!(result["images"][1]["seed"], "8");
    assert_eq!(result["completion"]["scheduler"], "euler");
    assert_eq!(result["completion"]["provenance"]["request_id"], "0192-fake");
}

#[test]
fn refused_prompts_and_withheld_pictures_end_with_3() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let target = folder.name("a.png");
    let output = run(&gateway, &["image", "evil", "-o", &target]);
    assert_ended(&output, 3);
    assert!(text(&output.stderr).contains("CONTENT_BLOCKED"));
    let output = run(&gateway, &["image", "turns evil", "--count", "2", "--stats", "-o", &target]);
    assert_ended(&output, 3);
    assert_eq!(folder.files(), ["a-1.png"], "what passed is there");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("error: policy withheld 1 of 2 pictures: hate 0.97"), "{stderr}");
    assert!(stderr.contains("steps    2 euler") && stderr.contains("(request 0192-fake)"), "{stderr}");
}

#[test]
fn names_that_tell_no_format_are_refused_before_the_call() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    for arguments in [
        ["image", "x", "-o", &folder.name("a.tiff")],
        ["video", "x", "-o", &folder.name("a.avi")],
        ["explore", "grid", "-o", &folder.name("a")],
        ["image", "x", "-o", &folder.name("none/a.png")],
        ["image", "x", "--init", "/none.png"],
    ] {
        let output = run(&gateway, &arguments);
        assert_ended(&output, 2);
    }
    assert!(folder.files().is_empty());
}

#[test]
fn bulk_paints_each_line_once_and_goes_on_where_it_stopped() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let mut input = String::new();
    for n in 0..40 {
        input += &format!("{}\n", json!({"id": format!("p/{n}"), "prompt": format!("sea {n}"), "seed": n}));
    }
    input += "{\"prompt\": \"evil\"}\nnonsense\n{\"text\": \"later:1\"}\n{\"id\": 44, \"prompt\": \"turns evil\"}\n";
    let lines = folder.with("lines.jsonl", &input);
    let target = folder.name("out");
    let arguments =
        ["image", "--jsonl", &lines, "--output-dir", &target, "--format", "jpg", "--concurrency", "8"];
    let output = run(&gateway, &arguments);
    assert_ended(&output, 1);
    assert_eq!(text(&output.stderr), "error: 3 of 44 lines have no pictures\n");
    let answers = by_line(&output);
    assert_eq!(answers.len(), 44);
    assert!(answers.values().all(|answers| answers.len() == 1));
    assert_eq!(answers[&3][0]["id"], "p/2");
    assert_eq!(answers[&3][0]["files"], json!([folder.path("out").join("000003-p_2.jpg")]));
    assert_eq!(read(&folder.path("out").join("000003-p_2.jpg")), "SEA 2");
    assert_eq!(answers[&41][0]["error"]["reason"], "CONTENT_BLOCKED");
    assert_eq!(answers[&42][0]["error"]["reason"], "BAD_LINE");
    assert_eq!(answers[&43][0]["files"].as_array().unwrap().len(), 1, "what was put off is tried again");
    assert_eq!(answers[&44][0]["error"]["reason"], "CONTENT_FILTER");
    let seeds: Vec<_> = gateway
        .seen
        .paintings
        .lock()
        .unwrap()
        .iter()
        .map(|asked| asked.diffusion.clone().unwrap().seed)
        .collect();
    assert!(seeds.contains(&Some(39)));

    fs::remove_file(folder.path("out").join("000003-p_2.jpg")).unwrap();
    let before = gateway.seen.calls.load(Ordering::Relaxed);
    let output = run(&gateway, &[&arguments[..], &["--resume"]].concat());
    assert_ended(&output, 1);
    let answers = by_line(&output);
    assert_eq!((answers.len(), &answers[&1][0]["resumed"]), (44, &json!(true)));
    assert!(answers[&3][0].get("resumed").is_none());
    // The missing one, and those that never worked.
    assert_eq!(gateway.seen.calls.load(Ordering::Relaxed) - before, 3);
}

#[test]
fn a_clip_is_written_whole_or_not_at_all() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let (clip, frames) = (folder.name("clip.mp4"), folder.name("frames"));
    let output = run(
        &gateway,
        &[
            "video",
            "a sea",
            "a shore",
            "--seed",
            "1",
            "--seed",
            "2",
            "--seed",
            "3",
            "--frames",
            "2",
            "--fps",
            "12",
            "--loop",
            "--drift",
            "0.1",
            "--frames-dir",
            &frames,
            "-o",
            &clip,
        ],
    );
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), format!("{clip}  64x48  2 frames at 12/s\n"));
    assert_eq!(read(Path::new(&clip)), "RIFFmoving");
    assert_eq!(read(&folder.path("frames").join("frame-0001.png")), "frame");
    let asked = gateway.seen.clips.lock().unwrap()[0].clone();
    let places: Vec<_> = asked.keyframes.iter().map(|k| (k.prompt.as_str(), k.seed)).collect();
    assert_eq!(places, [("a sea", Some(1)), ("a shore", Some(2)), ("", Some(3))]);
    let video = asked.video.unwrap();
    assert_eq!((video.format(), video.r#loop, video.num_frames), (VideoFormat::Mp4, true, Some(2)));

    let gone = folder.name("gone.webp");
    let output = run(&gateway, &["--json", "video", "turns evil", "-o", &gone]);
    assert_ended(&output, 3);
    assert_eq!(folder.files(), ["clip.mp4", "frames"]);
    let events = documents(&output.stdout);
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["file"]), (&json!("completion"), &json!(null)));
    assert_eq!(end["completion"]["finish_reason"], "content_filter");
    let output = run_with_stdin(&gateway, &["video"], "");
    assert_ended(&output, 2);
}

#[test]
fn latent_spaces_are_explored() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let (sheet, face) = (folder.name("sheet.png"), folder.with("face.png", "a face"));
    let output = run(
        &gateway,
        &[
            "explore",
            "grid",
            "--count",
            "2",
            "--seed",
            "5",
            "-o",
            &sheet,
            "--pictures-dir",
            &folder.name("all"),
        ],
    );
    assert_ended(&output, 0);
    assert_eq!(
        (read(Path::new(&sheet)), read(&folder.path("all").join("00-01.png"))),
        ("faces".into(), "a face".into())
    );
    assert!(text(&output.stdout).starts_with(&format!("{sheet}  2 pictures\n")));

    for line in [
        vec!["explore", "walk", "1", &face, "--linear", "--steps", "4"],
        vec!["explore", "mix", "--row", "1", "--column", "2", "--column", "3", "--first-layer", "2"],
        vec!["explore", "arithmetic", "--add", "1", "--subtract", &face, "--attribute", "smile=-1.5"],
        vec!["explore", "reconstruct", &face],
    ] {
        let output = run(&gateway, &[&line[..], &["--json", "--truncation", "0.7", "-o", &sheet]].concat());
        assert_ended(&output, 0);
        let document = &documents(&output.stdout)[0];
        assert_eq!(
            (&document["sheet"], &document["images"][1]["latent"]),
            (&json!(sheet), &json!([0.5, -0.5]))
        );
    }
    let asked: Vec<_> = gateway
        .seen
        .explorations
        .lock()
        .unwrap()
        .iter()
        .map(|asked| asked.exploration.clone().unwrap())
        .collect();
    let [
        _,
        Exploration::Walk(walk),
        Exploration::Mix(mix),
        Exploration::Arithmetic(sum),
        Exploration::Reconstruction(of),
    ] = &asked[..]
    else {
        panic!("{asked:?}");
    };
    assert_eq!((walk.interpolation(), walk.steps), (Interpolation::Linear, Some(4)));
    assert_eq!(walk.points[1].point, Some(Point::Image("a face".into())));
    assert_eq!((mix.columns[1].point.clone(), mix.first_layer), (Some(Point::Seed(3)), Some(2)));
    let weights: Vec<_> = sum.terms.iter().map(|term| term.weight).collect();
    assert_eq!((weights, sum.attributes[0].amount), (vec![Some(1.0), Some(-1.0)], -1.5));
    assert_eq!(of.images, ["a face"]);

    let output = run(&gateway, &["explore", "grid", "--seed", "666", "-o", &folder.name("no.png")]);
    assert_ended(&output, 3);
    assert!(text(&output.stderr).contains("policy withheld 2 of 2 pictures"));
    assert!(!folder.path("no.png").exists());
}

#[test]
fn pictures_are_turned_into_vectors() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let (cat, horse) = (folder.with("cat.png", "a cat"), folder.with("horse.png", "a horse"));
    let output = run(&gateway, &["embed", "--json", "--image", &cat, "--image", &horse]);
    assert_ended(&output, 0);
    let vectors = documents(&output.stdout).remove(0)["embeddings"].take();
    assert_eq!((&vectors[0]["values"], &vectors[1]["values"]), (&json!([5.0, 0.5]), &json!([7.0, 0.5])));
}

#[test]
fn texts_of_a_picture_and_pictures_of_a_text_come_best_first() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let (cat, horse) = (folder.with("cat.png", "a cat"), folder.with("horse.png", "a horse"));
    let matches = |arguments: &[&str]| {
        let output = run(&gateway, &[&["match", "--json"], arguments].concat());
        assert_ended(&output, 0);
        documents(&output.stdout).remove(0)["matches"].take()
    };
    // Vectors of the fake gateway are not of length 1: [5, 0.5] is a cat's, [3, 0.5] and [2, 0.5] those of the words.
    let is_near =
        |value: &Value, cosine: f64| value.as_f64().is_some_and(|value| (value - cosine).abs() < 1e-6);
    let texts = matches(&["--image", &cat, "no", "yes"]);
    assert_eq!((&texts[0]["text"], &texts[1]["text"]), (&json!("yes"), &json!("no")));
    assert!(is_near(&texts[0]["cosine"], 15.25 / (25.25_f64 * 9.25).sqrt()), "{texts}");
    assert!(is_near(&texts[1]["cosine"], 10.25 / (25.25_f64 * 4.25).sqrt()), "{texts}");
    let pictures = matches(&["--image", &horse, "--image", &cat, "yes"]);
    assert_eq!((&pictures[0]["file"], &pictures[1]["file"]), (&json!(cat), &json!(horse)));

    let output = run(&gateway, &["match", "--model", "fake", "--image", &cat, "yes"]);
    assert_ended(&output, 2);
    assert!(text(&output.stderr).contains("space"));
}

#[test]
fn pictures_are_classified() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let (cat, dog) = (folder.with("cat.png", "a cat"), folder.with("dog.png", "a dog"));
    let output = run(&gateway, &["classify", &cat]);
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "LABEL  PROBABILITY\na cat  0.900\n");
    let output = run(&gateway, &["classify", "--json", "--top-k", "3", &cat, &dog]);
    let lines = documents(&output.stdout);
    assert_eq!(lines[1]["file"], dog);
    assert_eq!(
        (&lines[1]["labels"][0]["name"], &lines[1]["labels"][0]["index"]),
        (&json!("a dog"), &json!(3))
    );
}
