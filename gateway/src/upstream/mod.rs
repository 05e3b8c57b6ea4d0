//! The services behind the gateway, as typed clients.

mod moderation;
mod text;

pub(crate) use moderation::ModerationPool;
pub(crate) use text::{Listing, Task, TextClient, TextUpstream, call, open};

use std::time::Duration;

/// Longest time for the questions the gateway asks on its own account: which models, are you there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
