//! Message sizes and compression of generated servers and clients.
//!
//! tonic's generated types have the setters but no trait, hence macros.

use tonic::codec::CompressionEncoding;

/// The encodings that Atelier speaks, for use by the macros.
#[derive(Debug)]
pub struct Compression;

impl Compression {
    /// Reads everywhere, writes little.
    pub const GZIP: CompressionEncoding = CompressionEncoding::Gzip;
    /// Faster and smaller, for callers that know it.
    pub const ZSTD: CompressionEncoding = CompressionEncoding::Zstd;
}

/// Applies message sizes and compression of a [`ServerConfig`](crate::ServerConfig) to a generated server:
/// `atelier_rpc::limited!(TextServiceServer::new(service), &config.server)`.
#[macro_export]
macro_rules! limited {
    ($server:expr, $config:expr) => {{
        let config: &$crate::ServerConfig = $config;
        let server = $server
            .max_decoding_message_size(config.max_request_bytes)
            .max_encoding_message_size(config.max_response_bytes)
            .accept_compressed($crate::Compression::GZIP)
            .accept_compressed($crate::Compression::ZSTD);
        if config.compression {
            server.send_compressed($crate::Compression::GZIP).send_compressed($crate::Compression::ZSTD)
        } else {
            server
        }
    }};
}

/// Applies message sizes and compression of a [`ClientConfig`](crate::ClientConfig) to a generated client:
/// `atelier_rpc::limited_client!(TextServiceClient::new(channel), &config.text)`.
#[macro_export]
macro_rules! limited_client {
    ($client:expr, $config:expr) => {{
        let config: &$crate::ClientConfig = $config;
        let client = $client
            .max_decoding_message_size(config.max_response_bytes)
            .max_encoding_message_size(config.max_request_bytes);
        if config.compression {
            client
                .send_compressed($crate::Compression::ZSTD)
                .accept_compressed($crate::Compression::ZSTD)
                .accept_compressed($crate::Compression::GZIP)
        } else {
            client
        }
    }};
}
