//! TLS of servers: certificates are read anew when their files change, without dropping connections.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use crate::{RpcError, config::ServerTls};

/// The certificates in use.
pub(crate) struct Tls {
    config: ServerTls,
    current: ArcSwap<rustls::ServerConfig>,
}

/// What the files held when they were read last.
#[derive(PartialEq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files and keeps an eye on them for as long as `reload` is polled.
    pub(crate) async fn load(
        config: &ServerTls,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + use<>), RpcError> {
        let files = Files::read(config).await?;
        let current = ArcSwap::from_pointee(files.parse()?);
        let tls = Arc::new(Self { config: config.clone(), current });
        Ok((Arc::clone(&tls), reload(tls, files)))
    }

    /// The server side of a TLS handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current.load_full()).accept(stream).await
    }
}

async fn reload(tls: Arc<Tls>, mut seen: Files) {
    loop {
        tokio::time::sleep(tls.config.reload_interval).await;
        let files = match Files::read(&tls.config).await {
            Ok(files) if files == seen => continue,
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(error = %error, "certificates can't be read; the old ones stay");
                continue;
            }
        };
        match files.parse() {
            Ok(config) => {
                tls.current.store(Arc::new(config));
                tracing::info!("certificates reloaded");
            }
            // Certificate and key are two files: for a moment the one may be new and the other old.
            Err(error) => tracing::warn!(error = %error, "new certificates can't be used; the old ones stay"),
        }
        seen = files;
    }
}

impl Files {
    async fn read(config: &ServerTls) -> Result<Self, RpcError> {
        Ok(Self {
            certificate: read(&config.certificate).await?,
            key: read(&config.key).await?,
            client_ca: match &config.client_ca {
                Some(path) => Some(read(path).await?),
                None => None,
            },
        })
    }

    fn parse(&self) -> Result<rustls::ServerConfig, RpcError> {
        let fail = |what: &str, error: &dyn std::fmt::Display| RpcError::Tls(format!("{what}: {error}"));
        let provider = Arc::new(ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail("protocol versions", &error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(pem).map_err(|error| fail("client_ca", &error))? {
                    roots.add(authority).map_err(|error| fail("client_ca", &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| fail("client_ca", &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates(&self.certificate).map_err(|error| fail("certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| fail("key", &error))?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| fail("certificate", &error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

async fn read(path: &Path) -> Result<Vec<u8>, RpcError> {
    tokio::fs::read(path).await.map_err(|source| RpcError::ReadFile { path: path.to_owned(), source })
}
