//! The rules in force, and taking new ones while calls run.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use atelier_policy::Ruleset;

use crate::{error::GatewayError, metrics};

const BUILT_IN: &str = include_str!("../../deploy/config/policy.yaml");

/// The rules in force. A call takes them once, when it begins, and ends under the same ones.
pub(crate) struct PolicyStore {
    file: Option<PathBuf>,
    current: ArcSwap<Ruleset>,
}

impl PolicyStore {
    /// Reads the rules to begin with.
    ///
    /// # Errors
    /// There are none to fall back on yet, so a file that can't be read or is wrong is an error.
    pub(crate) async fn open(file: Option<PathBuf>) -> Result<Self, GatewayError> {
        let (origin, text) = match &file {
            None => ("built-in".to_owned(), BUILT_IN.to_owned()),
            Some(path) => {
                let read = tokio::fs::read_to_string(path).await;
                let text = read.map_err(|source| GatewayError::ReadPolicy { path: path.clone(), source })?;
                (path.display().to_string(), text)
            }
        };
        let rules = Ruleset::parse(&text).map_err(|source| GatewayError::Policy { origin, source })?;
        metrics::policy_taken(None, rules.version());
        tracing::info!(version = rules.version(), "policy in force");
        Ok(Self { file, current: ArcSwap::from_pointee(rules) })
    }

    /// The rules in force.
    pub(crate) fn current(&self) -> Arc<Ruleset> {
        self.current.load_full()
    }

    /// Looks at the file again and again; never returns.
    ///
    /// It compares content, not times or inodes, so it also sees what Kubernetes does with a ConfigMap: swap a
    /// symlink to a directory.
    pub(crate) async fn watch(self: Arc<Self>, interval: Duration) {
        let Some(file) = self.file.clone() else { return };
        let mut seen = String::new();
        loop {
            tokio::time::sleep(interval).await;
            match tokio::fs::read_to_string(&file).await {
                Ok(text) if text != seen => {
                    self.consider(&text);
                    seen = text;
                }
                Ok(_) => {}
                // Gone for a moment while it is replaced, or for good: the rules stay either way.
                Err(error) => {
                    if !seen.is_empty() {
                        tracing::error!(%error, "can't read the policy file, the rules in force stay");
                        metrics::policy_rejected();
                    }
                    seen.clear();
                }
            }
        }
    }

    fn consider(&self, text: &str) {
        match Ruleset::parse(text) {
            Ok(rules) => {
                let before = self.current.load_full();
                if rules.version() == before.version() {
                    return metrics::policy_as_in_force();
                }
                metrics::policy_taken(Some(before.version()), rules.version());
                tracing::info!(version = rules.version(), before = before.version(), "policy in force");
                self.current.store(Arc::new(rules));
            }
            Err(error) => {
                metrics::policy_rejected();
                let version = self.current.load().version().to_owned();
                tracing::error!(%error, version, "the policy file is wrong, the rules in force stay");
            }
        }
    }
}
