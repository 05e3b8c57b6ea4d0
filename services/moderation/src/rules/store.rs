//! The rules in force, and taking new ones while calls run.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use atelier_core::{ModelId, ModelRef, Revision};

use super::{
    RuleBook,
    file::{MAX_RULES_BYTES, RulesFile, read},
};
use crate::error::ModerationError;

/// What rules are called among detectors.
const NAME: &str = "rules";

/// A file may be written again within the tick of its time of change: only one that is older than this is known to be what was
/// read.
const SETTLED: Duration = Duration::from_secs(2);

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

/// Files as they were when they were last read. A symbolic link is what it leads to, so that what Kubernetes does with a
/// ConfigMap shows: it swaps a link to a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen(Vec<(PathBuf, Option<(u64, SystemTime)>)>);

impl Seen {
    fn now(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamp = |path: &PathBuf| {
            let file = fs::metadata(path).ok()?;
            Some((file.len(), file.modified().ok()?))
        };
        Self(files.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// Whether none of the files can have changed since.
    fn holds(&self) -> bool {
        let settled = |changed: &SystemTime| changed.elapsed().is_ok_and(|age| age > SETTLED);
        let old = self.0.iter().all(|(_, stamp)| stamp.as_ref().is_none_or(|(_, changed)| settled(changed)));
        !self.0.is_empty() && old && *self == Self::now(self.0.iter().map(|(path, _)| path.clone()))
    }
}

impl RuleStore {
    /// Reads the rules to begin with; without a file they are personal data, secrets and profanity, for every tenant.
    ///
    /// # Errors
    /// The file can't be read or is wrong: there are no rules yet to go on with.
    pub fn open(file: Option<PathBuf>) -> Result<Self, ModerationError> {
        let rules = match &file {
            None => compile("", Path::new("")),
            Some(file) => read(file, MAX_RULES_BYTES).and_then(|text| compile(&text, folder(file))),
        };
        let rules = rules.map_err(|problem| ModerationError::Config(format!("rules: {problem}")))?;
        Ok(Self { file, current: ArcSwap::from_pointee(rules) })
    }

    /// The rules in force.
    #[must_use]
    pub fn current(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Looks at the file, and at the files of terms that it names, again and again; never returns. Wrong ones leave the
    /// rules as they are. Files are read when their size or time of change tells that they are others.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        let Some(file) = self.file.clone() else { return };
        let mut seen = Seen::default();
        loop {
            tokio::time::sleep(interval).await;
            let (store, file, before) = (Arc::clone(&self), file.clone(), seen.clone());
            // A hundred thousand terms take a while to compile.
            match tokio::task::spawn_blocking(move || store.look(&file, before)).await {
                Ok(now) => seen = now,
                Err(error) => {
                    tracing::error!(%error, "looking at the rules did not end, those in force stay")
                }
            }
        }
    }

    /// Takes rules that differ from those in force; says what is seen now.
    fn look(&self, file: &Path, before: Seen) -> Seen {
        if before.holds() {
            return before;
        }
        let text = read(file, MAX_RULES_BYTES);
        let terms = text.as_deref().ok().and_then(|text| RulesFile::parse(text).ok());
        let terms = terms.map(|rules| rules.term_files(folder(file))).unwrap_or_default();
        let now = Seen::now([file.to_owned()].into_iter().chain(terms));
        match text.and_then(|text| compile(&text, folder(file))) {
            Ok(rules) if rules.model.revision == self.current.load().model.revision => {}
            Ok(rules) => {
                tracing::info!(revision = %rules.model.revision, "rules in force");
                self.current.store(Arc::new(rules));
            }
            // Once for each change.
            Err(error) if now != before => {
                tracing::error!(error, "the rules file is wrong, the rules in force stay")
            }
            Err(_) => {}
        }
        now
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn compile(text: &str, folder: &Path) -> Result<InForce, String> {
    let book = RuleBook::compile(text, folder)?;
    let digest = book.digest();
    let revision = Revision::new(digest.get(..12).unwrap_or(digest)).map_err(|error| error.to_string())?;
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
        let seen = store.look(&path, Seen::default());
        assert!(finds(&store, "heck"));
        assert!(!seen.holds(), "it may change again within the tick");
        watching.abort();
    }

    #[test]
    fn files_are_read_again_when_they_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let (path, terms) = (folder.path().join("rules.yaml"), folder.path().join("terms.txt"));
        fs::write(&terms, "darn").unwrap();
        let list = "lists: {words: {category: profanity, file: terms.txt}}";
        fs::write(&path, format!("{list}\ntenants: {{default: {{lists: [words]}}}}")).unwrap();
        let store = RuleStore::open(Some(path.clone())).unwrap();
        let old = |path: &Path| {
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        };
        old(&path);
        old(&terms);
        let seen = store.look(&path, Seen::default());
        assert!(seen.holds() && seen.0.len() == 2);
        fs::write(&terms, "heck").unwrap();
        assert!(!seen.holds());
        store.look(&path, seen);
        assert!(finds(&store, "heck"));
        // Longer than any rules may be: refused before it is read.
        fs::File::options().append(true).open(&path).unwrap().set_len(MAX_RULES_BYTES + 1).unwrap();
        store.look(&path, Seen::default());
        assert!(finds(&store, "heck"));
        assert!(matches!(RuleStore::open(Some(path)), Err(ModerationError::Config(_))));
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
