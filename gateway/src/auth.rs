//! Who is calling.

use std::collections::HashMap;

use atelier_core::{Fault, Reason, TenantId};
use atelier_rpc::bearer;
use sha2::{Digest, Sha256};

use crate::{
    config::{AuthConfig, AuthMode},
    error::GatewayError,
};

/// Tells tenants by their keys.
pub(crate) struct Authenticator {
    mode: AuthMode,
    /// By SHA-256. Looking up a hash gives nothing away by its timing: a caller can't steer the hash of a guess.
    keys: HashMap<[u8; 32], TenantId>,
}

impl Authenticator {
    /// # Errors
    /// Keys are asked for and there are none, or one hash stands for two tenants.
    pub(crate) fn new(config: &AuthConfig) -> Result<Self, GatewayError> {
        let mut keys = HashMap::new();
        for key in &config.api_keys {
            if keys.insert(key.sha256.0, key.tenant.clone()).is_some() {
                return Err(GatewayError::Config(format!("auth.api_keys: {:?} is there twice", key.sha256)));
            }
        }
        if config.mode == AuthMode::ApiKey && keys.is_empty() {
            return Err(GatewayError::Config("auth.api_keys: mode api_key needs at least one".to_owned()));
        }
        Ok(Self { mode: config.mode, keys })
    }

    /// The tenant of a call with this `authorization` header; `claimed` is what it says of itself.
    pub(crate) fn tenant(&self, authorization: Option<&[u8]>, claimed: TenantId) -> Result<TenantId, Fault> {
        match self.mode {
            AuthMode::None => Ok(claimed),
            AuthMode::ApiKey => {
                let key = authorization.and_then(bearer).ok_or_else(|| {
                    Fault::new(Reason::Unauthenticated, "authorization: a bearer key is needed")
                })?;
                let hash: [u8; 32] = Sha256::digest(key).into();
                let tenant = self.keys.get(&hash).cloned();
                tenant
                    .ok_or_else(|| Fault::new(Reason::Unauthenticated, "authorization: the key is not known"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ApiKey, KeyHash};

    fn name(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn with_key(key: &str) -> AuthConfig {
        let sha256 = KeyHash(Sha256::digest(key).into());
        AuthConfig { mode: AuthMode::ApiKey, api_keys: vec![ApiKey { sha256, tenant: name("acme") }] }
    }

    #[test]
    fn the_key_says_who_calls_whatever_the_caller_claims() {
        let auth = Authenticator::new(&with_key("k-1")).unwrap();
        assert_eq!(auth.tenant(Some(b"Bearer k-1"), name("other")).unwrap(), name("acme"));
        assert_eq!(auth.tenant(Some(b"bearer k-1"), name("other")).unwrap(), name("acme"));
        for bad in [None, Some(&b"Bearer k-2"[..]), Some(b"Bearer "), Some(b"Basic k-1"), Some(b"k-1")] {
            assert_eq!(auth.tenant(bad, name("acme")).unwrap_err().reason(), Reason::Unauthenticated);
        }
    }

    #[test]
    fn without_keys_the_claim_is_believed() {
        let auth = Authenticator::new(&AuthConfig::default()).unwrap();
        assert_eq!(auth.tenant(None, name("other")).unwrap(), name("other"));
    }

    #[test]
    fn keys_that_let_nobody_in_are_refused() {
        let none = AuthConfig { mode: AuthMode::ApiKey, api_keys: Vec::new() };
        assert!(Authenticator::new(&none).is_err());
        let mut twice = with_key("k-1");
        twice.api_keys.push(twice.api_keys[0].clone());
        assert!(Authenticator::new(&twice).is_err());
    }
}
