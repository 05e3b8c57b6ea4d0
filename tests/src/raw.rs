//! gRPC calls with bytes that no generated client would send.

use tonic::{
    Request, Status,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Endpoint,
};

use crate::Running;

#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use prost::bytes::BufMut as _;
        buffer.put_slice(&item);
        Ok(())
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use prost::bytes::Buf as _;
        let all = buffer.copy_to_bytes(buffer.remaining());
        Ok(Some(all.to_vec()))
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// A unary call whose request is exactly these bytes.
///
/// # Errors
/// The status of the call.
pub async fn unary(service: &Running, path: &'static str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    let endpoint =
        Endpoint::try_from(service.endpoint()).map_err(|error| Status::from_error(error.into()))?;
    let channel = endpoint.connect().await.map_err(|error| Status::from_error(error.into()))?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let answer = client.unary(Request::new(body), PathAndQuery::from_static(path), Bytes).await?;
    Ok(answer.into_inner())
}
