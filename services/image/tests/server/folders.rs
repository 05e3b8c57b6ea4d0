//! A user's own folder, here the tiny Stable Diffusion pipeline of the parity tests, served without a word of
//! configuration but its path.

use std::{fs, path::Path, thread};

use atelier_core::ModelId;
use atelier_image::{Config, config::ModelConfig};
use atelier_proto::image::v1::{
    self as proto, image_service_client::ImageServiceClient, stream_generate_image_response::Event,
};
use atelier_rpc::Listeners;
use tonic::transport::Channel;

use crate::common::{decoded, field};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("readable").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// A server of its own that ends with the test's process.
async fn serve(folder: &Path) -> ImageServiceClient<Channel> {
    let mut model = ModelConfig::new(ModelId::new("mine").expect("the name is valid"));
    model.path = Some(folder.to_owned());
    let config = Config { models: vec![model], ..Config::default() };
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be built").block_on(async {
            let listeners = Listeners::local().await.expect("a port is free");
            send.send(listeners.grpc_address().expect("the socket has an address"))
                .expect("the test listens");
            atelier_image::serve(config, listeners, std::future::pending()).await.expect("it serves");
        });
    });
    let address = receive.recv().expect("the service has a port");
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("the address is valid");
    let mut client = ImageServiceClient::new(endpoint.connect_lazy());
    for _ in 0..600 {
        if client.list_models(proto::ListModelsRequest {}).await.is_ok() {
            return client;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the folder is not loaded after half a minute");
}

#[tokio::test]
async fn a_model_that_reads_another_ones_features_comes_after_it() {
    let model = |id: &str| ModelConfig::new(ModelId::new(id).unwrap());
    let models = vec![model("emoji-captions"), model("efficientnet-lite0")];
    let listeners = Listeners::local().await.unwrap();
    let ended =
        atelier_image::serve(Config { models, ..Config::default() }, listeners, std::future::pending());
    let problem = ended.await.unwrap_err().to_string();
    assert!(problem.contains("list that before it"), "{problem}");
}

#[tokio::test]
async fn a_stable_diffusion_folder_just_works() {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pipelines"));
    let folder = tempfile::tempdir().unwrap();
    copy(&golden.join("shared"), folder.path());
    copy(&golden.join("plain"), folder.path());
    let mut client = serve(folder.path()).await;
    let model =
        client.get_model(proto::GetModelRequest { model: "mine".into() }).await.unwrap().into_inner().model;
    let can = model.unwrap().image.unwrap();
    assert!(can.image_to_image && can.inpainting && can.size_multiple > 0);

    // Every scheduler makes its picture, at a size that is not the default one.
    let side = can.default_width + can.size_multiple;
    for scheduler in &can.schedulers {
        let request = proto::StreamGenerateImageRequest {
            prompt: "a (red:1.3) apple".into(),
            negative_prompt: "a pear".into(),
            diffusion: Some(proto::DiffusionConfig {
                scheduler: scheduler.clone(),
                num_inference_steps: Some(4),
                num_images: Some(2),
                width: Some(side),
                seed: Some(1),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut stream = client.stream_generate_image(request).await.unwrap().into_inner();
        let mut result = None;
        while let Some(message) = stream.message().await.unwrap() {
            if let Event::Result(end) = message.event.unwrap() {
                result = Some(end);
            }
        }
        let proto::GeneratedImages { images, completion } = result.unwrap();
        assert_eq!(completion.unwrap().scheduler, *scheduler);
        assert_eq!(images.len(), 2, "{scheduler}");
        assert_ne!(images[0].data, images[1].data, "{scheduler}");
        assert_eq!(decoded(&images[0]).dimensions(), (side, can.default_height));
    }

    let odd = proto::DiffusionConfig { width: Some(side + 1), ..Default::default() };
    let request =
        proto::GenerateImageRequest { prompt: "x".into(), diffusion: Some(odd), ..Default::default() };
    assert_eq!(field(&client.generate_image(request).await.unwrap_err()), "diffusion.width");
}
