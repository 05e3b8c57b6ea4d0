//! The services behind the gateway, as typed clients.

mod image;
mod listed;
mod moderation;
mod text;

pub(crate) use image::ImageClient;
pub(crate) use listed::{Listing, ModelClient, Task, Upstream, call, open, unreachable};
pub(crate) use moderation::ModerationPool;
pub(crate) use text::TextClient;

use std::time::Duration;

/// Longest time for the questions the gateway asks on its own account: which models, are you there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
