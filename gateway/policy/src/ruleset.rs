//! All policies of a file, and who lives under which.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use atelier_core::TenantId;
use sha2::{Digest, Sha256};

use crate::{
    check,
    error::PolicyError,
    file::{self, UnknownTenants},
    policy::{FailureMode, Policy},
};

/// A checked policy file.
#[derive(Clone, Debug)]
pub struct Ruleset {
    pub(crate) version: String,
    pub(crate) policies: BTreeMap<String, Arc<Policy>>,
    pub(crate) tenants: HashMap<TenantId, Arc<Policy>>,
    pub(crate) default: Arc<Policy>,
    pub(crate) unknown_tenants: UnknownTenants,
}

/// The file lists its tenants, refuses others, and this one is not among them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tenant {0} is not known to the policy")]
pub struct UnknownTenant(pub TenantId);

impl Ruleset {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// The file is not YAML, has a key it shouldn't have or lacks one, or contradicts itself: an unknown category, a
    /// threshold outside 0 to 1, a graver action at a lower score, a policy nobody wrote. Every message has line,
    /// column and key.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let version = hex::encode(&Sha256::digest(text.as_bytes())[..6]);
        check::ruleset(version, file::read(text)?)
    }

    /// The first 12 hex digits of the file's SHA-256.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The policy a tenant lives under.
    ///
    /// # Errors
    /// The file says `unknown_tenants: refuse` and does not list the tenant.
    pub fn policy_of(&self, tenant: &TenantId) -> Result<&Arc<Policy>, UnknownTenant> {
        match (self.tenants.get(tenant), self.unknown_tenants) {
            (Some(policy), _) => Ok(policy),
            (None, UnknownTenants::Default) => Ok(&self.default),
            (None, UnknownTenants::Refuse) => Err(UnknownTenant(tenant.clone())),
        }
    }

    /// Every policy of the file, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values().map(Arc::as_ref)
    }

    /// Whether every policy lets content pass when moderation is down.
    #[must_use]
    pub fn always_fails_open(&self) -> bool {
        self.policies().all(|policy| policy.on_moderation_failure() == FailureMode::FailOpen)
    }
}
