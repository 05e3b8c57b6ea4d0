//! How a client reaches its gateway.

use std::{fmt, fs, io, path::PathBuf, time::Duration};

use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use crate::{ClientError, RetryPolicy};

/// Largest answer a client takes unless told otherwise: 1,024 vectors of 4,096 dimensions, four bytes each, and change.
const DEFAULT_MAX_RESPONSE_BYTES: usize = 32 << 20;
/// An idle connection is probed this often, so that one a firewall has dropped is noticed before the next call.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// A secret that names its bearer to the gateway; hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// Encryption, for endpoints that start with `https://`. Paths are of PEM files.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificate authority the gateway's certificate must come from. `None`: the well-known ones.
    pub ca_certificate: Option<PathBuf>,
    /// The client's own certificate, where the gateway asks for one; needs `client_key`.
    pub client_certificate: Option<PathBuf>,
    /// Private key of `client_certificate`.
    pub client_key: Option<PathBuf>,
    /// Name expected in the gateway's certificate. `None`: the endpoint's host.
    pub domain_name: Option<String>,
}

/// How a client reaches its gateway.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT`; without a scheme, `http`.
    pub endpoint: String,
    /// Sent as `authorization: Bearer KEY`.
    pub api_key: Option<ApiKey>,
    /// Who is charged with the calls, for gateways that ask for no key.
    pub tenant: Option<String>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Deadline of each call, tries and streamed answer included; `None`: the gateway's own limit alone.
    pub timeout: Option<Duration>,
    /// Largest answer to accept.
    pub max_response_bytes: usize,
    /// Encryption.
    pub tls: TlsOptions,
    /// What happens when the gateway says "later".
    pub retry: RetryPolicy,
}

impl ClientOptions {
    /// Options with defaults for all but the endpoint: 5 s to connect, 2 minutes for a call, three tries.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            api_key: None,
            tenant: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Some(Duration::from_secs(120)),
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            tls: TlsOptions::default(),
            retry: RetryPolicy::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, ClientError> {
        let given = self.endpoint.trim();
        let url = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
        let invalid = || ClientError::Options(format!("{given:?} is no endpoint: expected http://HOST:PORT"));
        let endpoint = Endpoint::from_shared(url).map_err(|_| invalid())?;
        let encrypted = match endpoint.uri().scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(invalid()),
        };
        let endpoint = endpoint
            .user_agent(concat!("atelier-client/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| invalid())?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .tcp_nodelay(true);
        if !encrypted {
            return Ok(endpoint);
        }
        let unusable = |cause| ClientError::Options(format!("TLS settings: {cause}"));
        endpoint.tls_config(self.tls.config()?).map_err(unusable)
    }

    pub(crate) fn headers(&self) -> Result<Headers, ClientError> {
        let authorization = match &self.api_key {
            Some(ApiKey(key)) => {
                let mut value = MetadataValue::try_from(format!("Bearer {key}")).map_err(|_| {
                    ClientError::Options("the API key has characters that no header can carry".into())
                })?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let tenant = match &self.tenant {
            Some(tenant) => Some(
                MetadataValue::try_from(tenant.as_str())
                    .map_err(|_| ClientError::Options(format!("{tenant:?} is no tenant name")))?,
            ),
            None => None,
        };
        Ok(Headers { authorization, tenant })
    }
}

/// What every call carries.
#[derive(Clone)]
pub(crate) struct Headers {
    pub(crate) authorization: Option<MetadataValue<Ascii>>,
    pub(crate) tenant: Option<MetadataValue<Ascii>>,
}

impl TlsOptions {
    fn config(&self) -> Result<ClientTlsConfig, ClientError> {
        let read = |path: &PathBuf| {
            fs::read(path)
                .map_err(|cause: io::Error| ClientError::Options(format!("{}: {cause}", path.display())))
        };
        let mut config = match &self.ca_certificate {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        if let Some(name) = &self.domain_name {
            config = config.domain_name(name);
        }
        match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => {
                Ok(config.identity(Identity::from_pem(read(certificate)?, read(key)?)))
            }
            (None, None) => Ok(config),
            (Some(_), None) | (None, Some(_)) => {
                Err(ClientError::Options("a client certificate and its key only go together".into()))
            }
        }
    }
}

impl From<String> for ApiKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_need_no_scheme() {
        for good in ["127.0.0.1:50051", "http://localhost:1", " http://[::1]:50051 ", "gateway.example:443"] {
            assert!(ClientOptions::new(good).endpoint().is_ok(), "{good}");
        }
        for bad in ["", "http://", "ftp://host:1", "a b"] {
            let error = ClientOptions::new(bad).endpoint().expect_err(bad);
            assert!(error.to_string().contains("is no endpoint"), "{error}");
        }
    }

    #[test]
    fn keys_do_not_show() {
        let options = ClientOptions { api_key: Some("sk-123".into()), ..ClientOptions::new("h:1") };
        assert!(!format!("{options:?}").contains("sk-123"));
        let headers = options.headers().expect("a plain key");
        let value = headers.authorization.expect("there is a key");
        assert!(!format!("{value:?}").contains("sk-123"));
        assert_eq!(value.to_str().expect("ASCII"), "Bearer sk-123");
    }

    #[test]
    fn headers_are_checked_before_the_first_call() {
        let error = ClientOptions { api_key: Some("a\nb".into()), ..ClientOptions::new("h:1") };
        assert!(matches!(error.headers(), Err(ClientError::Options(_))));
        let error = ClientOptions { tenant: Some("a\nb".into()), ..ClientOptions::new("h:1") };
        assert!(matches!(error.headers(), Err(ClientError::Options(_))));
    }

    #[test]
    fn half_an_identity_is_refused() {
        let tls = TlsOptions { client_key: Some("key.pem".into()), ..TlsOptions::default() };
        let options = ClientOptions { tls, ..ClientOptions::new("https://h:1") };
        assert!(options.endpoint().expect_err("no certificate").to_string().contains("only go together"));
    }
}
