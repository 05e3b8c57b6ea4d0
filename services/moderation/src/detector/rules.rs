//! The tenant's rules as a detector: no model, but measured beside the models and named like them.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_rpc::Workers;

use super::{About, TextDetector};
use crate::{
    call::Call,
    error::ModerationError,
    rules::{InForce, RuleStore},
    scores::Measurement,
};

/// Searches texts under the rules of the caller's tenant.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) store: Arc<RuleStore>,
    pub(crate) workers: Workers,
}

fn about(rules: &InForce) -> Arc<About> {
    Arc::new(About {
        model: rules.model.clone(),
        parts: Vec::new(),
        categories: rules.book.categories().iter().copied().collect(),
    })
}

#[async_trait]
impl TextDetector for Rules {
    fn about(&self) -> Arc<About> {
        about(&self.store.current())
    }

    fn about_in(&self, call: &Call) -> Arc<About> {
        about(call.rules(&self.store))
    }

    fn undoes_disguises(&self) -> bool {
        true
    }

    async fn measure(&self, text: &str, call: &Call) -> Result<Measurement, ModerationError> {
        let (rules, tenant) = (Arc::clone(call.rules(&self.store)), call.tenant().clone());
        if rules.book.of(&tenant).is_quick(text) {
            return Ok(rules.book.of(&tenant).measure(text));
        }
        let text = text.to_owned();
        self.workers.run(call.deadline(), move || Ok(rules.book.of(&tenant).measure(&text))).await
    }
}
