//! Which upstream answers for a model.

use std::sync::Arc;

use atelier_core::{Fault, ModelId, ModelRef, Reason};

use crate::{
    config::UpstreamConfig,
    error::GatewayError,
    upstream::{Listing, ModelClient, Task, Upstream, unreachable},
};

/// Knows which upstream of a kind has which model.
pub(crate) struct Router<C> {
    /// In order of preference.
    upstreams: Vec<Arc<Upstream<C>>>,
    default_model: Option<ModelId>,
}

/// Where a call can go.
pub(crate) struct Route<C> {
    pub(crate) model: ModelRef,
    /// Upstreams that have the model, those that answered last time first; never empty.
    pub(crate) upstreams: Vec<Arc<Upstream<C>>>,
}

impl<C: ModelClient> Router<C> {
    pub(crate) fn new(
        upstreams: &[UpstreamConfig],
        default_model: Option<ModelId>,
    ) -> Result<Self, GatewayError> {
        let upstreams = upstreams.iter().map(|upstream| Ok(Arc::new(Upstream::new(upstream)?)));
        let upstreams = upstreams.collect::<Result<_, GatewayError>>()?;
        Ok(Self { upstreams, default_model })
    }

    /// The route for a model's name; an empty one means the default model for the task.
    ///
    /// # Errors
    /// No upstream has the model, or none has ever been reached.
    pub(crate) fn route(&self, name: &str, task: Task) -> Result<Route<C>, Fault> {
        let id = if name.is_empty() { self.default_for(task)? } else { parse(name)? };
        let mut found: Vec<(ModelRef, Arc<Upstream<C>>)> = Vec::new();
        for upstream in &self.upstreams {
            let listing = upstream.models().iter().find(|model| model.reference.id == id).cloned();
            found.extend(listing.map(|model| (model.reference, Arc::clone(upstream))));
        }
        // The sort is stable: within each half the configured order holds.
        found.sort_by_key(|(_, upstream)| !upstream.is_reachable());
        match found.first() {
            Some((model, _)) => {
                let model = model.clone();
                Ok(Route { model, upstreams: found.into_iter().map(|(_, upstream)| upstream).collect() })
            }
            None if self.may_be_elsewhere(&id) => Err(unreachable::<C>()),
            None => {
                let message = format!("no {} service has a model of that name", C::KIND);
                Err(Fault::new(Reason::ModelNotFound, message).with_metadata("model", id.as_str()))
            }
        }
    }

    /// Whether the configuration says that this is the model of calls that name none.
    pub(crate) fn is_default(&self, id: &ModelId) -> bool {
        self.default_model.as_ref() == Some(id)
    }

    /// Every model; of models that several upstreams have, the preferred upstream's.
    pub(crate) fn listings(&self) -> Vec<Listing> {
        let mut all: Vec<Listing> = Vec::new();
        for upstream in &self.upstreams {
            for listing in upstream.models().iter() {
                if all.iter().all(|known| known.reference.id != listing.reference.id) {
                    all.push(listing.clone());
                }
            }
        }
        all.sort_by(|a, b| a.reference.id.cmp(&b.reference.id));
        all
    }

    /// Asks all upstreams for their models; whether any answered.
    pub(crate) async fn refresh(&self) -> bool {
        let asked = self.upstreams.iter().map(|upstream| upstream.refresh());
        futures::future::join_all(asked).await.into_iter().any(|answered| answered)
    }

    fn default_for(&self, task: Task) -> Result<ModelId, Fault> {
        let listings: Vec<Listing> =
            self.upstreams.iter().flat_map(|upstream| upstream.models().as_ref().clone()).collect();
        let able = |listing: &&Listing| listing.tasks.contains(&task);
        let preferred =
            listings.iter().filter(able).find(|l| Some(&l.reference.id) == self.default_model.as_ref());
        // A model that is made for it comes before one that can do it too.
        let made_for = |listing: &&Listing| listing.tasks.first() == Some(&task);
        let found =
            preferred.or_else(|| listings.iter().find(made_for)).or_else(|| listings.iter().find(able));
        match found {
            Some(listing) => Ok(listing.reference.id.clone()),
            // Where there is none to be reached, trying again is in vain.
            None if listings.is_empty() && !self.upstreams.is_empty() => Err(unreachable::<C>()),
            None => {
                Err(Fault::new(Reason::ModelNotFound, format!("no {} service has a model for this", C::KIND)))
            }
        }
    }

    /// An upstream that does not answer is to have the model, or nobody has said yet what it has.
    fn may_be_elsewhere(&self, id: &ModelId) -> bool {
        self.upstreams.iter().any(|upstream| !upstream.is_reachable() && upstream.may_have(id))
    }
}

fn parse(name: &str) -> Result<ModelId, Fault> {
    ModelId::new(name).map_err(|_| Fault::invalid("model", "must be 1 to 128 of a-z A-Z 0-9 . _ - /"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::TextClient;

    fn listing(id: &str, task: Task) -> Listing {
        let reference =
            ModelRef { id: ModelId::new(id).unwrap(), revision: atelier_core::Revision::new("abc").unwrap() };
        Listing { reference, tasks: vec![task], description: Default::default() }
    }

    fn upstream(listings: Option<Vec<Listing>>, only: &[&str]) -> Arc<Upstream<TextClient>> {
        let models = only.iter().map(|id| ModelId::new(id).unwrap()).collect();
        let upstream = Upstream::new(&UpstreamConfig { models, ..Default::default() }).unwrap();
        upstream.learn(listings);
        Arc::new(upstream)
    }

    fn router(upstreams: Vec<Arc<Upstream<TextClient>>>, default: Option<&str>) -> Router<TextClient> {
        Router { upstreams, default_model: default.map(|id| ModelId::new(id).unwrap()) }
    }

    fn reason(result: Result<Route<TextClient>, Fault>) -> Reason {
        result.err().unwrap().reason()
    }

    #[tokio::test]
    async fn the_first_upstream_that_answers_and_has_the_model() {
        let first = upstream(Some(vec![listing("a", Task::Generate)]), &[]);
        let second = upstream(Some(vec![listing("a", Task::Generate), listing("b", Task::Generate)]), &[]);
        let router = router(vec![Arc::clone(&first), Arc::clone(&second)], None);
        assert!(Arc::ptr_eq(&router.route("a", Task::Generate).unwrap().upstreams[0], &first));
        assert!(Arc::ptr_eq(&router.route("b", Task::Generate).unwrap().upstreams[0], &second));
        first.learn(None);
        let route = router.route("a", Task::Generate).unwrap();
        assert!(Arc::ptr_eq(&route.upstreams[0], &second), "one that is down comes last");
        assert_eq!(route.upstreams.len(), 2);
        assert_eq!(router.listings().len(), 2);
    }

    #[tokio::test]
    async fn an_unknown_model_is_told_from_an_upstream_that_is_down() {
        let up = upstream(Some(vec![listing("a", Task::Generate)]), &[]);
        let down = upstream(None, &["c"]);
        let router = router(vec![up, down], None);
        assert_eq!(reason(router.route("b", Task::Generate)), Reason::ModelNotFound);
        assert_eq!(reason(router.route("c", Task::Generate)), Reason::UpstreamUnavailable);
        assert_eq!(reason(router.route("-", Task::Generate)), Reason::InvalidArgument);
    }

    #[tokio::test]
    async fn no_name_means_the_default_that_can_do_it() {
        let models =
            vec![listing("e", Task::Embed), listing("g1", Task::Generate), listing("g2", Task::Generate)];
        let up = upstream(Some(models), &[]);
        let id = |router: &Router<TextClient>, task| router.route("", task).unwrap().model.id.to_string();
        let router_with = router(vec![Arc::clone(&up)], Some("g2"));
        assert_eq!(id(&router_with, Task::Generate), "g2");
        assert_eq!(id(&router_with, Task::Embed), "e");
        assert_eq!(id(&router(vec![up], None), Task::Generate), "g1");
        assert_eq!(
            reason(router(vec![upstream(None, &[])], None).route("", Task::Embed)),
            Reason::UpstreamUnavailable
        );
    }

    #[tokio::test]
    async fn a_model_made_for_the_task_comes_before_one_that_can_do_it_too() {
        let both = Listing { tasks: vec![Task::Embed, Task::Rerank], ..listing("a", Task::Embed) };
        let id = |models| {
            let router = router(vec![upstream(Some(models), &[])], None);
            router.route("", Task::Rerank).unwrap().model.id.to_string()
        };
        assert_eq!(id(vec![both.clone(), listing("b", Task::Rerank)]), "b");
        assert_eq!(id(vec![listing("c", Task::Embed), both]), "a");
    }

    #[tokio::test]
    async fn without_upstreams_no_model_is_found_and_no_retry_is_asked_for() {
        let router = router(Vec::new(), None);
        assert_eq!(reason(router.route("", Task::Generate)), Reason::ModelNotFound);
        assert_eq!(reason(router.route("a", Task::Generate)), Reason::ModelNotFound);
    }

    #[tokio::test]
    async fn only_the_configured_models_of_an_upstream_are_seen() {
        let up = upstream(Some(vec![listing("a", Task::Generate), listing("b", Task::Generate)]), &["b"]);
        let router = router(vec![up], None);
        assert_eq!(reason(router.route("a", Task::Generate)), Reason::ModelNotFound);
        assert_eq!(router.route("", Task::Generate).unwrap().model.id.as_str(), "b");
    }
}
