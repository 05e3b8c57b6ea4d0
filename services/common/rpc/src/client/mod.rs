//! Channels to upstream services.

mod channel;

use std::{fs, path::Path};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

pub use channel::Channel;

use crate::{
    RpcError,
    config::{ClientConfig, ClientTls},
};

/// A channel that connects when it is first used and again whenever the connection is lost.
///
/// Message sizes and compression belong to the generated client: wrap it in
/// [`limited_client!`](crate::limited_client).
///
/// # Errors
/// The endpoint is no URI, or TLS files can't be read or used.
pub fn channel(config: &ClientConfig) -> Result<Channel, RpcError> {
    Ok(Channel::new(endpoint(config)?.connect_lazy()))
}

/// The endpoint with everything that a configuration says about connections.
pub(crate) fn endpoint(config: &ClientConfig) -> Result<Endpoint, RpcError> {
    let fail = |source| RpcError::Endpoint { endpoint: config.endpoint.clone(), source };
    let mut endpoint = Endpoint::from_shared(config.endpoint.clone())
        .map_err(fail)?
        .connect_timeout(config.connect_timeout)
        .timeout(config.request_timeout)
        .http2_keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .user_agent(concat!("atelier/", env!("CARGO_PKG_VERSION")))
        .map_err(fail)?;
    if config.endpoint.starts_with("https://") {
        let tls = config.tls.as_ref().map_or_else(|| Ok(public()), private)?;
        endpoint = endpoint.tls_config(tls).map_err(fail)?;
    } else if config.tls.is_some() {
        return Err(RpcError::Tls(format!("{} has TLS settings but is not https", config.endpoint)));
    }
    Ok(endpoint)
}

fn public() -> ClientTlsConfig {
    ClientTlsConfig::new().with_webpki_roots()
}

fn private(tls: &ClientTls) -> Result<ClientTlsConfig, RpcError> {
    let mut config = match &tls.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => public(),
    };
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        (None, None) => {}
        _ => return Err(RpcError::Tls("certificate and key of a client come together".to_owned())),
    }
    Ok(match &tls.server_name {
        Some(name) => config.domain_name(name),
        None => config,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, RpcError> {
    fs::read(path).map_err(|source| RpcError::ReadFile { path: path.to_owned(), source })
}
