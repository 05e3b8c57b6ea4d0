//! Bad input gets a typed error that names the field, and costs nothing.

use atelier_proto::image::v1 as proto;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::common::{apple, client, field, png, quick};

#[tokio::test]
async fn fields_that_the_model_refuses_are_named() {
    let mut client = client().await;
    let mut refused = async |change: fn(&mut proto::GenerateImageRequest, &mut proto::DiffusionConfig)| {
        let (mut request, mut diffusion) = (apple(1), quick(1));
        change(&mut request, &mut diffusion);
        request.diffusion = Some(diffusion);
        let status = client.generate_image(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        field(&status)
    };
    assert_eq!(refused(|_, d| d.width = Some(100)).await, "diffusion.width");
    assert_eq!(refused(|_, d| d.scheduler = "magic".into()).await, "diffusion.scheduler");
    assert_eq!(refused(|_, d| d.style = "cubist".into()).await, "diffusion.style");
    assert_eq!(refused(|_, d| d.num_inference_steps = Some(1001)).await, "diffusion.num_inference_steps");
    assert_eq!(
        refused(|r, _| r.control_images =
            vec![proto::ControlImage { data: png(8, 8, [9; 4]), ..Default::default() }])
        .await,
        "control_images"
    );
    assert_eq!(
        refused(|r, _| {
            let init = proto::InitImage { data: b"no picture".as_slice().into(), ..Default::default() };
            r.init_image = Some(init);
        })
        .await,
        "init_image.data"
    );
    assert_eq!(
        refused(|r, _| {
            let (data, mask) = (png(40, 40, [9; 4]), png(40, 20, [255; 4]));
            r.init_image = Some(proto::InitImage { data, mask, strength: None });
        })
        .await,
        "init_image.mask"
    );
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_by_its_header() {
    let mut client = client().await;
    let mut bomb = png(1, 1, [0; 4]).to_vec();
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let init = proto::InitImage { data: bomb.into(), ..Default::default() };
    let status = client
        .generate_image(proto::GenerateImageRequest { init_image: Some(init), ..apple(1) })
        .await
        .unwrap_err();
    assert_eq!((status.code(), field(&status)), (Code::InvalidArgument, "init_image.data".into()));
}

#[tokio::test]
async fn models_are_told_from_what_they_can_do() {
    let mut client = client().await;
    let reason = |status: &tonic::Status| status.get_details_error_info().unwrap().reason;
    let unknown = proto::GenerateImageRequest { model: "dall-e".into(), ..apple(1) };
    assert_eq!(reason(&client.generate_image(unknown).await.unwrap_err()), "MODEL_NOT_FOUND");
    let unable = proto::GenerateImageRequest { model: "efficientnet-lite0".into(), ..apple(1) };
    assert_eq!(reason(&client.generate_image(unable).await.unwrap_err()), "TASK_UNSUPPORTED");
    let style = proto::post_process::Step::StyleTransfer(proto::StyleTransfer::default());
    let post_processing = vec![proto::PostProcess { step: Some(style) }];
    let none = proto::GenerateImageRequest { post_processing, ..apple(1) };
    assert_eq!(reason(&client.generate_image(none).await.unwrap_err()), "MODEL_NOT_FOUND");
}

#[tokio::test]
async fn a_deadline_ends_the_work() {
    let mut client = client().await;
    let diffusion = proto::DiffusionConfig { num_inference_steps: Some(900), ..quick(1) };
    let mut request =
        tonic::Request::new(proto::GenerateImageRequest { diffusion: Some(diffusion), ..apple(1) });
    request.set_timeout(std::time::Duration::from_millis(300));
    let status = client.generate_image(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
}
