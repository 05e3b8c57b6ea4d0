//! Compiles the API definitions; protox is a protobuf compiler in Rust, so no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 6] = [
    "atelier/common/v1/model.proto",
    "atelier/text/v1/text.proto",
    "atelier/image/v1/image.proto",
    "atelier/moderation/v1/moderation.proto",
    "atelier/moderation/v1/similarity.proto",
    "atelier/gateway/v1/gateway.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=atelier");
    let descriptors = protox::compile(FILES, ["."])?;
    // Reflection serves this very set, so it can't drift from the code.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("atelier.binpb"), protox::prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .bytes(".atelier.moderation.v1.ImageItem")
        .bytes(".atelier.moderation.v1.Picture")
        .bytes(".atelier.image.v1")
        .bytes(".atelier.gateway.v1.EmbedImageRequest")
        .bytes(".atelier.gateway.v1.ClassifyImageRequest")
        .bytes(".atelier.gateway.v1.CheckRequest")
        .compile_fds(descriptors)?;
    Ok(())
}
