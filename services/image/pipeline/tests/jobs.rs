//! Jobs from their request to their pictures: seeds, batches, previews, cancellation.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod support;

use atelier_inference::{InferenceError, RunControl};
use atelier_pipeline::{Conditioning, Control, Init, Job, Noise, Pipeline, PipelineError, Request};
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use support::{load, request};

/// Rows of a batch are computed by other kernels than rows alone.
const TOLERANCE: f32 = 1e-4;

/// Steps a job to its end; its latents.
fn latents(pipeline: &mut Pipeline, request: &Request) -> Vec<f32> {
    let job = run(pipeline, request);
    job.latents().to_vec()
}

fn run(pipeline: &mut Pipeline, request: &Request) -> Job {
    let control = RunControl::new();
    let mut job = pipeline.begin(request, &control).unwrap();
    while !job.is_done() {
        pipeline.step(&mut [&mut job], &control).unwrap();
    }
    job
}

/// The largest difference.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn gradient(side: u32) -> RgbaImage {
    RgbaImage::from_fn(side, side, |x, y| Rgba([(x * 12) as u8, (y * 12) as u8, 90, 255]))
}

#[test]
fn owners_move_pipelines_to_their_thread() {
    fn is_send<T: Send>() {}
    is_send::<Pipeline>();
    is_send::<Job>();
}

#[test]
fn the_same_seed_is_the_same_picture() {
    let mut pipeline = load("plain");
    for scheduler in ["euler_a", "ddim"] {
        let request = Request { scheduler: Some(scheduler.to_owned()), ..request("a red cat", 7) };
        let first = latents(&mut pipeline, &request);
        assert_eq!(first, latents(&mut pipeline, &request), "{scheduler}");
        let other = Request { noise: Noise::Seed(8), ..request };
        assert!(apart(&first, &latents(&mut pipeline, &other)) > 0.1);
    }
}

#[test]
fn pictures_of_a_job_have_seeds_of_their_own() {
    let mut pipeline = load("plain");
    // The last one draws noise in its steps, for each picture its own.
    for scheduler in ["dpmpp_2m", "euler_a"] {
        let request = Request { scheduler: Some(scheduler.to_owned()), ..request("a red cat", 7) };
        let job = run(&mut pipeline, &Request { num_images: 3, ..request.clone() });
        assert_eq!((job.num_images(), job.seed()), (3, 7));
        let alone = latents(&mut pipeline, &Request { noise: Noise::Seed(9), ..request });
        assert!(apart(&job.latents()[2 * alone.len()..], &alone) < TOLERANCE, "{scheduler}");
        assert_eq!(pipeline.finish(job, &RunControl::new()).unwrap().len(), 3);
    }
}

/// Jobs that have little in common: some share runs, others can't.
fn mixed() -> Vec<Request> {
    let scheduler = |name: &str| Some(name.to_owned());
    vec![
        Request { scheduler: scheduler("ddim"), ..request("a red cat", 1) },
        Request { scheduler: scheduler("ddim"), num_images: 2, ..request("a blue dog", 2) },
        Request { scheduler: scheduler("euler_a"), steps: Some(6), ..request("mars", 3) },
        Request { scheduler: scheduler("unipc"), guidance_scale: Some(1.0), ..request("", 4) },
        Request { scheduler: scheduler("ddim"), width: Some(24), ..request("a horse", 5) },
        Request {
            scheduler: scheduler("pndm"),
            guidance_rescale: 0.5,
            init: Some(Init { picture: gradient(20), strength: Some(0.5), mask: None }),
            ..request("a photo", 6)
        },
        Request {
            scheduler: scheduler("dpmpp_2m"),
            init: Some(Init {
                picture: gradient(16),
                strength: None,
                mask: Some(GrayImage::from_fn(16, 16, |x, _| Luma([if x < 8 { 255 } else { 0 }]))),
            }),
            ..request("a (red:1.4) [horse]", 7)
        },
    ]
}

#[test]
fn jobs_side_by_side_are_what_each_is_alone() {
    // "large" reads a time for each row, "plain" one for all.
    for model in ["plain", "large"] {
        let mut pipeline = load(model);
        let control = RunControl::new();
        let alone: Vec<Vec<f32>> = mixed().iter().map(|request| latents(&mut pipeline, request)).collect();
        let mut jobs: Vec<Job> =
            mixed().iter().map(|request| pipeline.begin(request, &control).unwrap()).collect();
        assert!(jobs[0].is_compatible(&jobs[1]) && !jobs[0].is_compatible(&jobs[4]));
        assert_eq!(jobs[0].is_compatible(&jobs[2]), model == "large");
        while jobs.iter().any(|job| !job.is_done()) {
            let mut together: Vec<&mut Job> = jobs.iter_mut().collect();
            pipeline.step(&mut together, &control).unwrap();
        }
        for (n, (job, alone)) in jobs.iter().zip(&alone).enumerate() {
            let error = apart(job.latents(), alone);
            assert!(error < TOLERANCE, "{model}, job {n}: {error}");
        }
        assert_eq!(jobs[0].step(), 4);
        assert_eq!(jobs[2].step(), 6);
    }
}

#[test]
fn a_cancelled_step_leaves_jobs_as_they_were() {
    let mut pipeline = load("plain");
    let expected = latents(&mut pipeline, &request("a red cat", 7));
    let (control, cancelled) = (RunControl::new(), RunControl::new());
    cancelled.cancel();
    let is_cancelled = |result: Result<(), PipelineError>| {
        matches!(result, Err(PipelineError::Inference(InferenceError::Cancelled)))
    };
    assert!(is_cancelled(pipeline.begin(&request("never read", 1), &cancelled).map(|_| ())));
    let mut job = pipeline.begin(&request("a red cat", 7), &control).unwrap();
    pipeline.step(&mut [&mut job], &control).unwrap();
    let before = job.latents().to_vec();
    assert!(is_cancelled(pipeline.step(&mut [&mut job], &cancelled)));
    assert_eq!((job.latents(), job.step()), (before.as_slice(), 1));
    while !job.is_done() {
        pipeline.step(&mut [&mut job], &control).unwrap();
    }
    assert_eq!(job.latents(), expected);
    assert!(is_cancelled(pipeline.finish(job, &cancelled).map(|_| ())));
}

#[test]
fn jobs_say_how_far_they_are() {
    let mut pipeline = load("plain");
    let control = RunControl::new();
    let request =
        Request { scheduler: Some("pndm".to_owned()), num_images: 2, ..request(&"cat ".repeat(90), 7) };
    let mut job = pipeline.begin(&request, &control).unwrap();
    assert_eq!((job.step(), job.total_steps(), job.scheduler()), (0, 5, "pndm"));
    assert!(job.prompt_truncated() && !job.is_done());
    assert!(job.memory_bytes() > job.latents().len() as u64 * 8);
    let previews = pipeline.preview(&job);
    assert_eq!((previews.len(), previews[0].dimensions()), (2, (8, 8)));
    pipeline.step(&mut [&mut job], &control).unwrap();
    assert_ne!(pipeline.preview(&job), previews);
    assert_eq!(job.step(), 1);
    while !job.is_done() {
        pipeline.step(&mut [&mut job], &control).unwrap();
    }
    // A step behind the end does nothing.
    let end = job.latents().to_vec();
    pipeline.step(&mut [&mut job], &control).unwrap();
    assert_eq!(job.latents(), end);
    assert_eq!(pipeline.finish(job, &control).unwrap()[1].dimensions(), (16, 16));
}

#[test]
fn words_weigh_and_may_lie_between_others() {
    let mut pipeline = load("plain");
    let mut of = |prompt: Conditioning| latents(&mut pipeline, &Request { prompt, ..request("", 7) });
    let mut said = |text: &str| of(Conditioning::prompt(text));
    let plain = said("a red cat");
    assert_eq!(said("a (red:1.0) cat"), plain);
    assert_eq!(said(r"a red cat"), plain);
    assert!(apart(&said("a (red:1.5) cat"), &plain) > 1e-3);
    assert!(apart(&said("a (red:0.5) cat"), &said("a (red:1.5) cat")) > 1e-3);
    let other = said("a blue dog");
    let mut between = |weight: f32| {
        of(Conditioning::Between { from: "a red cat".to_owned(), to: "a blue dog".to_owned(), weight })
    };
    assert_eq!(between(0.0), plain);
    assert_eq!(between(1.0), other);
    let half = between(0.5);
    assert!(apart(&half, &plain) > 1e-3 && apart(&half, &other) > 1e-3);
    assert!(apart(&between(0.001), &plain) < apart(&half, &plain));
}

#[test]
fn noise_may_lie_between_seeds() {
    let mut pipeline = load("plain");
    let mut of = |noise: Noise| latents(&mut pipeline, &Request { noise, ..request("a red cat", 0) });
    let between = |weight: f32, drift: f32| Noise::Between { from: 3, to: 4, weight, drift, drift_seed: 9 };
    assert_eq!(of(between(0.0, 0.0)), of(Noise::Seed(3)));
    assert!(apart(&of(between(1.0, 0.0)), &of(Noise::Seed(4))) < 1e-3);
    let (still, drifting) = (of(between(0.5, 0.0)), of(between(0.5, 0.2)));
    assert!(apart(&still, &drifting) > 1e-3);
    let fresh = Noise::Between { from: 1, to: 2, weight: 0.5, drift: 1.0, drift_seed: 9 };
    assert!(apart(&of(fresh), &of(between(0.5, 1.0))) < 1e-3, "nothing is left of the seeds");
}

#[test]
fn what_is_black_in_the_mask_stays() {
    let mut pipeline = load("plain");
    let control = RunControl::new();
    let mask = GrayImage::from_fn(16, 16, |x, _| Luma([if x < 8 { 255 } else { 0 }]));
    let keep = |mask: Option<GrayImage>, strength: f32| Request {
        scheduler: Some("ddim".to_owned()),
        init: Some(Init { picture: gradient(16), strength: Some(strength), mask }),
        ..request("a red cat", 7)
    };
    let clean = latents(&mut pipeline, &keep(Some(GrayImage::new(16, 16)), 1.0));
    let half = latents(&mut pipeline, &keep(Some(mask), 1.0));
    for (n, (half, clean)) in half.iter().zip(&clean).enumerate() {
        if n % 8 >= 4 {
            assert!((half - clean).abs() < 1e-5, "position {n}");
        }
    }
    // However little is made anew, one step is.
    let job = pipeline.begin(&keep(None, 0.01), &control).unwrap();
    assert_eq!(job.total_steps(), 1);
}

#[test]
fn masks_may_be_left_out_where_the_model_reads_them() {
    let mut pipeline = load("masked");
    let scratch = latents(&mut pipeline, &request("a red cat", 7));
    assert!(scratch.iter().all(|latent| latent.is_finite()));
    let init = Some(Init { picture: gradient(9), strength: Some(0.5), mask: None });
    assert!(apart(&scratch, &latents(&mut pipeline, &Request { init, ..request("a red cat", 7) })) > 0.1);
}

#[test]
fn control_images_steer_and_may_be_left_out() {
    let mut pipeline = load("controlled");
    assert_eq!(pipeline.capabilities().control_nets, 1);
    let picture = RgbImage::from_fn(40, 40, |x, y| Rgb([if (x / 8 + y / 8) % 2 == 0 { 255 } else { 0 }; 3]));
    let plain = latents(&mut pipeline, &request("a red cat", 7));
    let mut with = |control: Control| {
        latents(&mut pipeline, &Request { controls: vec![control], ..request("a red cat", 7) })
    };
    let steered = with(Control::new(picture.clone()));
    assert!(apart(&plain, &steered) > 1e-3);
    assert_eq!(plain, with(Control { scale: 0.0, ..Control::new(picture.clone()) }));
    let late = with(Control { guidance_start: 0.6, ..Control::new(picture) });
    assert!(apart(&late, &plain) > 1e-3 && apart(&late, &steered) > 1e-3);
    // The same weights without what ControlNets say.
    let ddim = Request { scheduler: Some("ddim".to_owned()), ..request("a red cat", 7) };
    assert!(apart(&plain, &latents(&mut load("plain"), &ddim)) < TOLERANCE);
}

#[test]
fn small_pictures_may_be_transparent() {
    let mut pipeline = load("flow");
    let capabilities = pipeline.capabilities().clone();
    assert!(capabilities.transparency && capabilities.image_to_image);
    assert_eq!((capabilities.size_multiple, capabilities.default_width), (0, 8));
    assert_eq!(capabilities.schedulers, ["flow_euler"]);
    assert_eq!((capabilities.default_steps, capabilities.default_guidance_scale), (6, 3.0));
    let job = run(&mut pipeline, &Request { steps: None, ..request("a red cat", 7) });
    assert_eq!((job.total_steps(), pipeline.preview(&job).len()), (6, 1));
    let any = job.latents().to_vec();
    let picture = pipeline.finish(job, &RunControl::new()).unwrap().remove(0);
    assert!(picture.pixels().any(|pixel| pixel.0[3] < 255));
    let mut with = |style: &str, prompt: &str| {
        latents(&mut pipeline, &Request { steps: None, style: Some(style.to_owned()), ..request(prompt, 7) })
    };
    assert_eq!(with("any", "a red cat"), any);
    assert!(apart(&with("ink", "a red cat"), &any) > 1e-3);
    assert!(apart(&with("any", "a (red:2) cat"), &any) > 1e-3);
    let long = Request { steps: None, ..request(&"red ".repeat(20), 7) };
    assert!(run(&mut pipeline, &long).prompt_truncated());
}
