//! Who may load and unload models.

use atelier_rpc::{bearer, config::Secret};
use sha2::{Digest, Sha256};

use crate::TextError;

/// Lets operators in: those who carry the token. Without a token there are none.
pub(crate) struct Admin {
    /// SHA-256 of the token. Comparing hashes gives nothing away by its timing: a caller can't steer the hash of a guess.
    token: Option<[u8; 32]>,
}

impl Admin {
    /// White space around the token is left out: files of secrets tend to end with a line break.
    ///
    /// # Errors
    /// [`TextError::Configuration`] for a token that is empty.
    pub(crate) fn new(token: Option<&Secret>) -> Result<Self, TextError> {
        let token = token.map(|token| match token.expose().trim() {
            "" => Err(TextError::Configuration("admin_token is empty".to_owned())),
            token => Ok(Sha256::digest(token).into()),
        });
        Ok(Self { token: token.transpose()? })
    }

    /// Checks a call with this `authorization` header.
    ///
    /// # Errors
    /// [`TextError::AdminDisabled`] or [`TextError::AdminUnauthenticated`].
    pub(crate) fn admit(&self, authorization: Option<&[u8]>) -> Result<(), TextError> {
        let expected = self.token.as_ref().ok_or(TextError::AdminDisabled)?;
        let given = authorization.and_then(bearer).ok_or(TextError::AdminUnauthenticated)?;
        let given: [u8; 32] = Sha256::digest(given).into();
        if given == *expected { Ok(()) } else { Err(TextError::AdminUnauthenticated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_lets_in_and_nothing_else_does() {
        let admin = Admin::new(Some(&Secret::new("k-1\n"))).expect("it is a token");
        assert!(admin.admit(Some(b"Bearer k-1")).is_ok());
        for bad in [None, Some(&b"Bearer k-2"[..]), Some(b"Bearer "), Some(b"k-1")] {
            assert!(matches!(admin.admit(bad), Err(TextError::AdminUnauthenticated)));
        }
        let nobody = Admin::new(None).expect("there need not be one");
        assert!(matches!(nobody.admit(Some(b"Bearer k-1")), Err(TextError::AdminDisabled)));
        assert!(Admin::new(Some(&Secret::new(" \n"))).is_err());
    }
}
