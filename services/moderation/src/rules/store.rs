//! The rules in force, and taking new ones while calls run.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use atelier_core::{ModelId, ModelRef, Revision};

use super::RuleBook;
use crate::error::ModerationError;

/// What rules are called among detectors.
const NAME: &str = "rules";

/// Rules, and the name and revision by which answers refer to them.
#[derive(Debug)]
pub struct InForce {
    /// The rules.
    pub book: RuleBook,
    /// `rules`, and a revision that follows the file's text.
    pub model: ModelRef,
}

/// The rules in force. A call takes them once and ends under the same ones.
#[derive(Debug)]
pub struct RuleStore {
    file: Option<PathBuf>,
    current: ArcSwap<InForce>,
}

impl RuleStore {
    /// Reads the rules to begin with; without a file they are personal data and secrets, for every tenant.
    ///
    /// # Errors
    /// The file can't be read or is wrong: there are no rules yet to go on with.
    pub fn open(file: Option<PathBuf>) -> Result<Self, ModerationError> {
        let text = match &file {
            None => String::new(),
            Some(path) => fs::read_to_string(path)
                .map_err(|error| ModerationError::Config(format!("rules: {}: {error}", path.display())))?,
        };
        let rules = compile(&text, file.as_ref());
        let rules = rules.map_err(|problem| ModerationError::Config(format!("rules: {problem}")))?;
        Ok(Self { file, current: ArcSwap::from_pointee(rules) })
    }

    /// The rules in force.
    #[must_use]
    pub fn current(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Looks at the file, and at the files of terms that it names, again and again; never returns. Wrong ones leave the
    /// rules as they are.
    ///
    /// It compares content, not times or inodes, so it also sees what Kubernetes does with a ConfigMap: swap a symlink
    /// to a directory.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        if self.file.is_none() {
            return;
        }
        let mut seen = None;
        loop {
            tokio::time::sleep(interval).await;
            let (store, before) = (Arc::clone(&self), seen.clone());
            // A hundred thousand terms take a while to compile.
            match tokio::task::spawn_blocking(move || store.look(before)).await {
                Ok(now) => seen = now,
                Err(error) => {
                    tracing::error!(%error, "looking at the rules did not end, those in force stay")
                }
            }
        }
    }

    /// Takes what differs from what was seen before; says what is seen now.
    fn look(&self, before: Option<String>) -> Option<String> {
        let file = self.file.as_ref()?;
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            // Gone for a moment while it is replaced, or for good: the rules stay either way.
            Err(error) => {
                if before.is_some() {
                    tracing::error!(%error, "can't read the rules file, the rules in force stay");
                }
                return None;
            }
        };
        let now = Some(RuleBook::digest(&text, &folder(file)));
        if now != before {
            match compile(&text, Some(file)) {
                Ok(rules) if rules.model.revision == self.current.load().model.revision => {}
                Ok(rules) => {
                    tracing::info!(revision = %rules.model.revision, "rules in force");
                    self.current.store(Arc::new(rules));
                }
                Err(error) => tracing::error!(error, "the rules file is wrong, the rules in force stay"),
            }
        }
        now
    }
}

fn folder(file: &Path) -> PathBuf {
    file.parent().map(PathBuf::from).unwrap_or_default()
}

fn compile(text: &str, file: Option<&PathBuf>) -> Result<InForce, String> {
    let folder = file.map(|file| folder(file)).unwrap_or_default();
    let book = RuleBook::compile(text, &folder)?;
    let digest = RuleBook::digest(text, &folder);
    let revision = Revision::new(digest.get(..12).unwrap_or(&digest)).map_err(|error| error.to_string())?;
    let id = ModelId::new(NAME).map_err(|error| error.to_string())?;
    Ok(InForce { book, model: ModelRef { id, revision } })
}

#[cfg(test)]
mod tests {
    use atelier_core::TenantId;

    use super::*;

    fn rules(path: &Path, term: &str) {
        let lists = format!("lists: {{words: {{category: profanity, terms: [{term}]}}}}");
        fs::write(path, format!("{lists}\ntenants: {{default: {{lists: [words]}}}}")).unwrap();
    }

    fn finds(store: &RuleStore, text: &str) -> bool {
        !store.current().book.of(&TenantId::default_tenant()).measure(text).findings.is_empty()
    }

    #[tokio::test]
    async fn new_rules_are_taken_and_wrong_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        rules(&path, "darn");
        let store = Arc::new(RuleStore::open(Some(path.clone())).unwrap());
        let before = store.current().model.clone();
        assert!(finds(&store, "darn") && !finds(&store, "heck"));
        let watching = tokio::spawn(Arc::clone(&store).watch(Duration::from_millis(5)));
        rules(&path, "heck");
        while !finds(&store, "heck") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_ne!(store.current().model.revision, before.revision);
        fs::write(&path, "lists: nonsense").unwrap();
        store.look(None);
        assert!(finds(&store, "heck"));
        watching.abort();
    }

    #[test]
    fn a_wrong_file_keeps_the_service_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        assert!(matches!(RuleStore::open(Some(path.clone())), Err(ModerationError::Config(_))));
        fs::write(&path, "lists: 3").unwrap();
        assert!(matches!(RuleStore::open(Some(path)), Err(ModerationError::Config(_))));
        assert!(finds(&RuleStore::open(None).unwrap(), "jane@example.org"));
    }
}
