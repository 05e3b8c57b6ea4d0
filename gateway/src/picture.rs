//! Pictures on their way through the gateway, which never decodes one.

use std::time::Duration;

use atelier_core::{ContentHash, Fault};
use bytes::Bytes;

use crate::moderator::Shown;

/// Bytes from which hashing would hold up an async worker: SHA-256 takes about half a millisecond for them.
const WORTH_A_THREAD: usize = 128 << 10;

/// A picture as it passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// Encoded.
    pub(crate) data: Bytes,
    /// A smaller rendering for judging; empty where `data` will do. Never leaves.
    pub(crate) copy: Bytes,
    /// The API's number of it.
    pub(crate) format: i32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) seed: u64,
    /// When it is shown, of a clip's frame.
    pub(crate) time_ms: Option<u64>,
    /// Moderation doesn't read the text in it.
    pub(crate) skip_text: bool,
}

/// How far the making of pictures is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) step: u32,
    pub(crate) total_steps: u32,
    pub(crate) remaining: Option<Duration>,
    pub(crate) previews: Vec<Picture>,
}

impl Picture {
    /// What a detector is shown.
    pub(crate) fn measured(&self) -> Bytes {
        if self.copy.is_empty() { self.data.clone() } else { self.copy.clone() }
    }

    /// The same with what moderation is to know.
    pub(crate) fn shown(&self) -> Shown {
        Shown { data: self.measured(), time_ms: self.time_ms, skip_text: self.skip_text }
    }

    /// SHA-256 in hex and length of what would leave.
    pub(crate) async fn fingerprint(&self) -> Result<(String, usize), Fault> {
        let data = self.data.clone();
        let length = data.len();
        let hash = off_worker(length, move || ContentHash::of(&data).to_string()).await?;
        Ok((hash, length))
    }

    /// The picture without what it shows.
    pub(crate) fn without_data(self) -> Self {
        Self { data: Bytes::new(), copy: Bytes::new(), ..self }
    }
}

/// Runs a job over so many bytes where it holds nobody up.
pub(crate) async fn off_worker<T: Send + 'static>(
    bytes: usize,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    if bytes < WORTH_A_THREAD {
        return Ok(job());
    }
    tokio::task::spawn_blocking(job).await.map_err(Fault::internal)
}
