//! The rules file: what may stand in it, and reading it. `deploy/config/rules.yaml` shows every field.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use atelier_core::{CategoryId, TenantId};
use serde::Deserialize;

/// Largest rules file, in bytes. Long lists have files of their own.
pub(super) const MAX_RULES_BYTES: u64 = 4 << 20;
/// Largest file of terms, in bytes.
pub(super) const MAX_TERMS_BYTES: u64 = 8 << 20;

/// The rules file. Every part may be left out, and what is not known is refused.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RulesFile {
    pub(super) lists: BTreeMap<String, ListRule>,
    pub(super) patterns: BTreeMap<String, PatternRule>,
    pub(super) tenants: BTreeMap<TenantId, TenantRule>,
}

/// A list of terms.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListRule {
    pub(super) category: CategoryId,
    #[serde(default = "certain")]
    pub(super) score: f32,
    #[serde(default)]
    pub(super) matching: ListMatching,
    /// How terms are compared: as they are written, undisguised, or by sound.
    #[serde(default)]
    pub(super) compared: Compared,
    #[serde(default)]
    pub(super) terms: Vec<String>,
    /// One term a line, beside the rules file; empty lines and those that begin with `#` count for nothing.
    #[serde(default)]
    pub(super) file: Option<PathBuf>,
    /// What is no match although a term lies in it, of whichever list.
    #[serde(default)]
    pub(super) allow: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ListMatching {
    #[default]
    Word,
    Substring,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compared {
    Plain,
    #[default]
    Undisguised,
    Pinyin,
}

/// A regular expression.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatternRule {
    pub(super) category: CategoryId,
    #[serde(default = "certain")]
    pub(super) score: f32,
    pub(super) regex: String,
}

/// What counts for a tenant; `default` is every tenant that has no entry.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TenantRule {
    pub(super) lists: Vec<String>,
    pub(super) patterns: Vec<String>,
    pub(super) personal_data: bool,
    pub(super) secrets: bool,
    /// Swear words of English and Chinese.
    pub(super) profanity: bool,
}

impl Default for TenantRule {
    fn default() -> Self {
        Self { lists: Vec::new(), patterns: Vec::new(), personal_data: true, secrets: true, profanity: true }
    }
}

const fn certain() -> f32 {
    1.0
}

impl RulesFile {
    /// # Errors
    /// What is wrong, for the person who wrote it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())
    }

    /// The files of terms that it names.
    pub(super) fn term_files(&self, folder: &Path) -> Vec<PathBuf> {
        self.lists.values().filter_map(|list| list.file.as_ref()).map(|file| folder.join(file)).collect()
    }
}

/// A file's text, of which no more is read than it may have.
///
/// # Errors
/// It can't be read or is too long.
pub(super) fn read(path: &Path, most: u64) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(most + 1).read_to_string(&mut text).map_err(unreadable)?;
    match text.len() as u64 <= most {
        true => Ok(text),
        false => Err(format!("{}: more than {most} bytes", path.display())),
    }
}
