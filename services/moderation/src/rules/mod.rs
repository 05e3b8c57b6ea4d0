//! The rules of all tenants: term lists, patterns, personal data; compiled from one file and swapped while calls run.

mod book;
mod profanity;
mod store;

pub use book::{RuleBook, TenantRules};
pub use store::RuleStore;
