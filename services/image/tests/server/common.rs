//! One server for all tests of the binary: loading the models takes longer than most tests.

use std::{net::SocketAddr, sync::OnceLock, thread, time::Duration};

use atelier_image::Config;
use atelier_proto::image::v1::{self as proto, image_service_client::ImageServiceClient};
use atelier_rpc::Listeners;
use image::RgbaImage;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

pub(crate) type Client = ImageServiceClient<Channel>;

fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        // It lives as long as the process.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime can be built").block_on(async {
                let listeners = Listeners::local().await.expect("a port is free");
                send.send(listeners.grpc_address().expect("the socket has an address"))
                    .expect("the test listens");
                let served = atelier_image::serve(Config::default(), listeners, std::future::pending()).await;
                served.expect("it serves");
            });
        });
        receive.recv().expect("the service has a port")
    })
}

/// A client, once the models are loaded.
pub(crate) async fn client() -> Client {
    let endpoint = Channel::from_shared(format!("http://{}", server())).expect("the address is valid");
    let mut client = ImageServiceClient::new(endpoint.connect_lazy()).max_decoding_message_size(64 << 20);
    for _ in 0..600 {
        match client.list_models(proto::ListModelsRequest {}).await {
            Ok(_) => return client,
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the models are not loaded after a minute");
}

/// Few steps, a fixed seed: what most tests need.
pub(crate) fn quick(seed: u64) -> proto::DiffusionConfig {
    proto::DiffusionConfig { num_inference_steps: Some(4), seed: Some(seed), ..Default::default() }
}

pub(crate) fn apple(seed: u64) -> proto::GenerateImageRequest {
    proto::GenerateImageRequest {
        prompt: "a red apple".into(),
        diffusion: Some(quick(seed)),
        ..Default::default()
    }
}

pub(crate) fn decoded(image: &proto::Image) -> RgbaImage {
    image::load_from_memory(&image.data).expect("the picture can be decoded").into_rgba8()
}

/// A PNG of one colour.
pub(crate) fn png(width: u32, height: u32, colour: [u8; 4]) -> bytes::Bytes {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = RgbaImage::from_pixel(width, height, image::Rgba(colour));
    picture.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG can be written");
    bytes.into_inner().into()
}

/// The first field that a status names.
pub(crate) fn field(status: &Status) -> String {
    let details = status.get_details_bad_request();
    let field = details.and_then(|details| details.field_violations.into_iter().next().map(|v| v.field));
    field.unwrap_or_else(|| panic!("names no field: {status}"))
}

/// Mean of a picture's colours.
pub(crate) fn mean(picture: &RgbaImage) -> [f32; 3] {
    let mut sum = [0.0; 3];
    for pixel in picture.pixels() {
        for (sum, &value) in sum.iter_mut().zip(&pixel.0) {
            *sum += f32::from(value);
        }
    }
    sum.map(|sum| sum / (picture.width() * picture.height()) as f32)
}
