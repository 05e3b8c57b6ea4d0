//! Identifiers, each its own type so that two strings can't be swapped.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A name that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid name: 1 to 128 of a-z A-Z 0-9 . _ - /, starting with a letter or digit")]
pub struct InvalidName(String);

fn check(name: &str) -> Result<Arc<str>, InvalidName> {
    let fits = (1..=128).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    if fits { Ok(name.into()) } else { Err(InvalidName(name.chars().take(128).collect())) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// The name is empty, longer than 128 bytes, or has a character outside `a-z A-Z 0-9 . _ - /`.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                check(name).map(Self)
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// Name by which callers ask for a model.
    ModelId
);
name!(
    /// Who is charged with a call.
    TenantId
);
name!(
    /// Content revision of a model: the first 12 hex digits of a SHA-256 over its files.
    Revision
);

impl TenantId {
    /// The tenant of calls that name none.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

/// The exact model that produced an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// Name by which callers ask for it.
    pub id: ModelId,
    /// Content revision.
    pub revision: Revision,
}

/// Name of one call across services, log lines and the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new one; UUID version 7, so that ids sort by time.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// Takes a caller's id if it is 1 to 128 visible ASCII characters; `None` otherwise.
    #[must_use]
    pub fn from_caller(id: &str) -> Option<Self> {
        ((1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(id.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(ModelId::new("org/smollm2-135m.v1").is_ok());
        for bad in ["", "-x", "a b", "ä", &"x".repeat(129)] {
            assert!(ModelId::new(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<TenantId>("\"a b\"").is_err());
    }

    #[test]
    fn request_ids_of_callers_are_visible_ascii() {
        assert!(RequestId::from_caller("abc-1").is_some());
        assert!(RequestId::from_caller("a\nb").is_none());
        assert!(RequestId::from_caller("").is_none());
    }

    #[test]
    fn generated_request_ids_sort_by_time() {
        let (a, b) = (RequestId::generate(), RequestId::generate());
        assert!(a.as_str() <= b.as_str());
        assert_ne!(a, b);
    }
}
