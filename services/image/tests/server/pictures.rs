//! Pictures from words, with progress.

use atelier_proto::{
    common::v1::{FinishReason, ModelTask},
    image::v1::{self as proto, stream_generate_image_response::Event},
};
use image::ImageFormat;

use crate::common::{apple, client, decoded, mean, quick};

#[tokio::test]
async fn the_same_seed_makes_the_same_picture_and_another_one_another() {
    let mut client = client().await;
    let mut picture = async |seed| {
        let answer = client.generate_image(apple(seed)).await.unwrap().into_inner();
        let completion = answer.completion.unwrap();
        assert_eq!(completion.seed, seed);
        assert_eq!((completion.steps, completion.finish_reason()), (4, FinishReason::Stop));
        assert!(!completion.model.unwrap().revision.is_empty());
        answer.images[0].data.clone()
    };
    let (one, again, other) = (picture(7).await, picture(7).await, picture(8).await);
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[tokio::test]
async fn words_decide_what_is_seen_in_english_and_chinese() {
    let mut client = client().await;
    let mut colour = async |prompt: &str| {
        let diffusion =
            proto::DiffusionConfig { num_inference_steps: Some(12), num_images: Some(3), ..quick(1) };
        let request = proto::GenerateImageRequest {
            prompt: prompt.into(),
            diffusion: Some(diffusion),
            ..Default::default()
        };
        let answer = client.generate_image(request).await.unwrap().into_inner();
        assert_eq!(answer.images.len(), 3);
        assert_eq!(answer.images.iter().map(|image| image.seed).collect::<Vec<_>>(), [1, 2, 3]);
        let means = answer.images.iter().map(|image| mean(&decoded(image)));
        means.reduce(|a, b| std::array::from_fn(|n| a[n] + b[n])).unwrap().map(|sum| sum / 3.0)
    };
    for (red, blue) in [("a red heart", "a blue heart"), ("红色的心", "蓝色的心")] {
        let ([r1, _, b1], [r2, _, b2]) = (colour(red).await, colour(blue).await);
        assert!(r1 > b1 + 20.0, "{red}: red {r1}, blue {b1}");
        assert!(b2 > r2 + 20.0, "{blue}: red {r2}, blue {b2}");
    }
}

#[tokio::test]
async fn progress_counts_steps_and_previews_come_with_them() {
    let mut client = client().await;
    let request = proto::StreamGenerateImageRequest {
        prompt: "a cat".into(),
        diffusion: Some(proto::DiffusionConfig { num_inference_steps: Some(6), ..quick(3) }),
        preview: Some(proto::PreviewConfig { every_steps: 2 }),
        ..Default::default()
    };
    let mut stream = client.stream_generate_image(request).await.unwrap().into_inner();
    let (mut steps, mut previews, mut result) = (Vec::new(), 0, None);
    while let Some(message) = stream.message().await.unwrap() {
        assert!(result.is_none(), "the result is the last");
        match message.event.unwrap() {
            Event::Progress(progress) => {
                assert_eq!(progress.total_steps, 6);
                steps.push(progress.step);
                for preview in &progress.previews {
                    assert!(decoded(preview).width() > 0);
                    previews += 1;
                }
            }
            Event::Result(end) => result = Some(end),
        }
    }
    assert!(steps.is_sorted() && steps.last().is_some_and(|&last| last <= 6), "{steps:?}");
    assert_eq!(previews, 2, "after steps 2 and 4");
    assert_eq!(result.unwrap().images.len(), 1);
}

#[tokio::test]
async fn pictures_leave_in_the_format_asked_for() {
    let mut client = client().await;
    for (format, guess) in [
        (proto::ImageFormat::Unspecified, ImageFormat::Png),
        (proto::ImageFormat::Webp, ImageFormat::WebP),
        (proto::ImageFormat::Jpeg, ImageFormat::Jpeg),
        (proto::ImageFormat::Avif, ImageFormat::Avif),
    ] {
        let output =
            proto::OutputConfig { format: format.into(), moderation_copy: true, ..Default::default() };
        let request = proto::GenerateImageRequest { output: Some(output), ..apple(5) };
        let image = client.generate_image(request).await.unwrap().into_inner().images.remove(0);
        assert_eq!(image::guess_format(&image.data).unwrap(), guess);
        assert_eq!((image.width, image.height), (128, 128));
        assert_eq!(
            image.moderation_copy.is_empty(),
            guess != ImageFormat::Avif,
            "who judges can't read AVIF"
        );
    }
}

#[tokio::test]
async fn the_background_can_be_left_out() {
    let mut client = client().await;
    let output =
        proto::OutputConfig { background: proto::Background::Transparent.into(), ..Default::default() };
    let diffusion = proto::DiffusionConfig { num_inference_steps: Some(12), ..quick(5) };
    let request =
        proto::GenerateImageRequest { output: Some(output), diffusion: Some(diffusion), ..apple(5) };
    let picture = decoded(&client.generate_image(request).await.unwrap().into_inner().images[0]);
    let alpha = |x, y| picture.get_pixel(x, y).0[3];
    assert!(alpha(1, 1) < 40 && alpha(126, 1) < 40, "corners are clear");
    assert!(alpha(64, 70) > 200, "the middle is not");
}

#[tokio::test]
async fn a_picture_can_be_the_start_and_a_mask_keeps_its_parts() {
    let mut client = client().await;
    let drawn = client.generate_image(apple(5)).await.unwrap().into_inner().images.remove(0).data;
    // The right half is made anew.
    let mut mask = image::RgbaImage::from_pixel(128, 128, image::Rgba([0, 0, 0, 255]));
    for (x, _, pixel) in mask.enumerate_pixels_mut() {
        if x >= 64 {
            *pixel = image::Rgba([255; 4]);
        }
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    mask.write_to(&mut bytes, ImageFormat::Png).unwrap();
    let mut difference = async |strength, mask: Vec<u8>| {
        let init = proto::InitImage { data: drawn.clone(), strength: Some(strength), mask: mask.into() };
        let diffusion = proto::DiffusionConfig { num_inference_steps: Some(10), ..quick(9) };
        let request = proto::GenerateImageRequest {
            prompt: "a green tree".into(),
            init_image: Some(init),
            diffusion: Some(diffusion),
            ..Default::default()
        };
        let answer = client.generate_image(request).await.unwrap().into_inner();
        let (made, given) =
            (decoded(&answer.images[0]), image::load_from_memory(&drawn).unwrap().into_rgba8());
        let half = |from: u32| {
            let pixels = made.enumerate_pixels().filter(|&(x, ..)| (from..from + 48).contains(&x));
            let apart = pixels.map(|(x, y, pixel)| {
                let given = given.get_pixel(x, y);
                pixel.0.iter().zip(given.0).map(|(&a, b)| f32::from(a.abs_diff(b))).sum::<f32>()
            });
            apart.sum::<f32>() / (48.0 * 128.0 * 3.0)
        };
        (half(0), half(80))
    };
    let (little, much) = (difference(0.1, Vec::new()).await, difference(1.0, Vec::new()).await);
    assert!(little.0 + little.1 < much.0 + much.1, "{little:?} {much:?}");
    let (kept, new) = difference(1.0, bytes.into_inner()).await;
    assert!(kept < new * 0.6, "what is black in the mask stays: {kept} against {new}");
}

#[tokio::test]
async fn finished_pictures_can_be_enlarged() {
    let mut client = client().await;
    let step = proto::post_process::Step::Upscale(proto::Upscale { model: String::new(), factor: 2 });
    let request = proto::GenerateImageRequest {
        post_processing: vec![proto::PostProcess { step: Some(step) }],
        ..apple(5)
    };
    let large = client.generate_image(request).await.unwrap().into_inner().images.remove(0);
    assert_eq!((large.width, large.height), (256, 256));
    let small = client.generate_image(apple(5)).await.unwrap().into_inner().images.remove(0);
    let (large, small) = (mean(&decoded(&large)), mean(&decoded(&small)));
    assert!(large.iter().zip(small).all(|(a, b)| (a - b).abs() < 6.0), "{large:?} {small:?}");
}

#[tokio::test]
async fn a_caller_who_leaves_makes_room_at_once() {
    let mut client = client().await;
    let long = proto::StreamGenerateImageRequest {
        prompt: "a cat".into(),
        diffusion: Some(proto::DiffusionConfig { num_inference_steps: Some(900), ..quick(3) }),
        ..Default::default()
    };
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = client.stream_generate_image(long.clone()).await.unwrap().into_inner();
        stream.message().await.unwrap();
        streams.push(stream);
    }
    drop(streams);
    let next =
        tokio::time::timeout(std::time::Duration::from_secs(60), client.generate_image(apple(1))).await;
    assert!(next.expect("thousands of steps were not run").is_ok());
}

#[tokio::test]
async fn models_say_what_they_can_do() {
    let mut client = client().await;
    let models = client.list_models(proto::ListModelsRequest {}).await.unwrap().into_inner().models;
    let of = |id: &str| models.iter().find(|model| model.id == id).unwrap_or_else(|| panic!("no {id}"));
    let flow = of("emoji-flow");
    assert!(flow.tasks.contains(&ModelTask::ImageGeneration.into()));
    let can = flow.image.as_ref().unwrap();
    assert!(can.transparency && can.image_to_image && can.inpainting && !can.styles.is_empty());
    assert_eq!((can.default_width, can.size_multiple), (128, 0));
    assert!(of("emoji-gan").image.as_ref().unwrap().style_layers > 1);
    assert!(!of("emoji-vae").image.as_ref().unwrap().attributes.is_empty());
    assert_eq!(of("emoji-upscale-x4").image.as_ref().unwrap().upscale_factor, 4);
    let one =
        client.get_model(proto::GetModelRequest { model: "emoji-flow".into() }).await.unwrap().into_inner();
    assert_eq!(one.model.as_ref(), Some(flow));
    assert_eq!(of("efficientnet-lite0").embedding_space, "efficientnet-lite0");
    let captions = of("emoji-captions");
    assert_eq!(
        (captions.embedding_space.as_str(), captions.embedding_dimensions),
        ("multilingual-e5-small", 384)
    );
}
