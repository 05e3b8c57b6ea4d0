//! The rules of all tenants: term lists, patterns, personal data; compiled from one file and swapped while calls run.
//!
//! The file is YAML with three parts, each of which may be left out; `deploy/config/rules.yaml` shows every field.
//!
//! - `lists`: by name, terms with the `category` and the `score` (0 to 1, default 1) that they mean. `matching` is `word` (default)
//!   or `substring`; `compared` is `undisguised` (default), `plain` (as written, but in any case) or `pinyin` (by sound). Terms stand
//!   in `terms`, or one a line in a `file` beside the rules file; `allow` holds what is no match although a term lies in it.
//! - `patterns`: by name, a `regex` of the `regex` crate with its `category` and `score`.
//! - `tenants`: by id, the names of the `lists` and `patterns` that count, and whether `personal_data`, `secrets` and `profanity`
//!   are looked for (default: all). The tenant `default` is every one that has no entry.
//!
//! A tenant's lists have 100,000 terms together at most, and it has 500 patterns at most. Lists are compiled once, however many
//! tenants use them.

mod book;
mod file;
mod kinds;
mod list;
mod store;

pub use book::{RuleBook, TenantRules};
pub(crate) use kinds::mark_of;
pub use store::{InForce, RuleStore};
