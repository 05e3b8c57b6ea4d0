//! Who may load and unload models.

use std::fs;

use atelier_rpc::bearer;
use sha2::{Digest, Sha256};

use crate::{TextError, config::AdminConfig};

/// Lets operators in.
#[derive(Debug)]
pub(crate) enum Admin {
    /// Nobody may.
    Disabled,
    /// Whoever reaches the port may.
    Open,
    /// Whoever carries the token of this SHA-256. Comparing hashes gives nothing away by its timing: a caller can't steer
    /// the hash of a guess.
    Token([u8; 32]),
}

impl Admin {
    /// Reads the token.
    ///
    /// # Errors
    /// [`TextError::Configuration`] for a file that can't be read or holds no token.
    pub(crate) fn new(config: &AdminConfig) -> Result<Self, TextError> {
        let Some(file) = config.token_file.as_ref().filter(|_| config.enabled) else {
            return Ok(if config.enabled { Self::Open } else { Self::Disabled });
        };
        let wrong = |problem: String| TextError::Configuration(format!("admin.token_file: {problem}"));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        match text.trim() {
            "" => Err(wrong("it is empty".to_owned())),
            token => Ok(Self::Token(Sha256::digest(token).into())),
        }
    }

    /// Checks a call with this `authorization` header.
    ///
    /// # Errors
    /// [`TextError::AdminDisabled`] or [`TextError::AdminUnauthenticated`].
    pub(crate) fn admit(&self, authorization: Option<&[u8]>) -> Result<(), TextError> {
        match self {
            Self::Disabled => Err(TextError::AdminDisabled),
            Self::Open => Ok(()),
            Self::Token(expected) => {
                let token = authorization.and_then(bearer).ok_or(TextError::AdminUnauthenticated)?;
                let given: [u8; 32] = Sha256::digest(token).into();
                if given == *expected { Ok(()) } else { Err(TextError::AdminUnauthenticated) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_files_without_the_space_around_it() {
        let file = tempfile::NamedTempFile::new().expect("a file can be made");
        fs::write(file.path(), "k-1\n").expect("it can be written");
        let config = AdminConfig { enabled: true, token_file: Some(file.path().to_owned()) };
        let admin = Admin::new(&config).expect("it is a token");
        assert!(admin.admit(Some(b"Bearer k-1")).is_ok());
        for bad in [None, Some(&b"Bearer k-2"[..]), Some(b"Bearer "), Some(b"k-1")] {
            assert!(matches!(admin.admit(bad), Err(TextError::AdminUnauthenticated)));
        }
        fs::write(file.path(), " \n").expect("it can be written");
        assert!(Admin::new(&config).is_err());
        let off = Admin::new(&AdminConfig { enabled: false, ..config }).expect("the file is not read");
        assert!(matches!(off.admit(Some(b"Bearer k-1")), Err(TextError::AdminDisabled)));
    }
}
