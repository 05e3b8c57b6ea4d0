//! Moderation of what models make, while they make it: text by windows, pictures and clips by the piece.
//!
//! Each filter is driven by whoever asks for the next event: when nobody asks any more (the caller went away) it is
//! dropped, and with it the upstream call and the judgement in flight. What was decided and what left is kept by its
//! [`Account`], whose end is on the audit trail whichever way the call ends.

mod account;
mod answer;
pub(crate) mod clip;
mod ledger;
pub(crate) mod pictures;
pub(crate) mod text;
mod window;

pub(crate) use account::{Account, Summary};
