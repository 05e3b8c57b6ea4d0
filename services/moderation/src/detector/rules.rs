//! The tenant's rules as a detector: no model, but measured beside the models and named like them.

use std::sync::Arc;

use async_trait::async_trait;

use super::{About, TextDetector};
use crate::{call::Call, error::ModerationError, rules::RuleStore, scores::Measurement};

/// Up to here a text is searched on the async worker: below a millisecond.
const INLINE_BYTES: usize = 4 << 10;

/// Searches texts under the rules of the caller's tenant.
#[derive(Debug)]
pub(crate) struct Rules(pub(crate) Arc<RuleStore>);

#[async_trait]
impl TextDetector for Rules {
    fn about(&self) -> Arc<About> {
        let rules = self.0.current();
        Arc::new(About {
            model: rules.model.clone(),
            parts: Vec::new(),
            categories: rules.book.categories().iter().copied().collect(),
        })
    }

    async fn measure(&self, text: &str, call: &Call) -> Result<Measurement, ModerationError> {
        let (rules, tenant) = (self.0.current(), call.tenant().clone());
        if text.len() <= INLINE_BYTES {
            return Ok(rules.book.of(&tenant).measure(text));
        }
        let text = text.to_owned();
        Ok(tokio::task::spawn_blocking(move || rules.book.of(&tenant).measure(&text)).await?)
    }
}
