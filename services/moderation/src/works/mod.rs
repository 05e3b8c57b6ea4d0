//! Protected works: a list for each tenant, and what of content is taken from them.
//!
//! A list is never changed but replaced by a new one, so a search takes no lock and ends on the list that it began with.
//! What is changed is kept before it is searched. Changes come one after another: each writes its tenant's file anew, so
//! many works in one call cost little more than one.

mod convert;
mod file;
mod list;
mod service;
mod store;
pub(crate) mod views;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use atelier_core::TenantId;
use atelier_likeness::{Capacity, ImageQuery, Picture, TextFingerprint, UnitVector, Work};
use atelier_media::DecodePool;
use atelier_normalise::readable;
use atelier_rpc::Workers;
use bytes::Bytes;
use futures::future::try_join_all;
use image::RgbImage;

pub use self::{
    file::FileError,
    list::{Label, List, Match, MatchKind, NewWork},
    service::Similarity,
    store::{Folder, Memory, WorkStore},
};
use crate::{
    call::Call,
    config::WorksConfig,
    detector::{ImageDetector, Prepared},
    error::ModerationError,
};

/// Most pictures of a work.
pub const MAX_PICTURES: usize = 16;
const _: () =
    assert!(MAX_PICTURES * views::KEPT <= Work::MAX_PICTURES, "a work has no room for its pictures");

type Lists = BTreeMap<TenantId, Arc<List>>;

/// The works of all tenants.
#[derive(Debug)]
pub struct Works {
    lists: ArcSwap<Lists>,
    store: Box<dyn WorkStore>,
    capacity: Capacity,
    max_tenants: usize,
    pool: DecodePool,
    embedder: Option<Arc<dyn ImageDetector>>,
    searches: Workers,
    changes: Workers,
}

impl Works {
    /// Reads the lists that are kept. Pictures are decoded in this pool and turned into vectors by this detector; `searches` run
    /// at once. Vectors on file that are another model's are dropped: those pictures are known by fingerprint alone until they
    /// are added again.
    ///
    /// # Errors
    /// The folder can't be used, or a file in it is broken or holds more than the configuration allows.
    pub fn open(
        config: &WorksConfig,
        pool: DecodePool,
        searches: usize,
        embedder: Option<Arc<dyn ImageDetector>>,
    ) -> Result<Self, ModerationError> {
        let store: Box<dyn WorkStore> = match &config.folder {
            Some(folder) => Box::new(Folder::open(folder)?),
            None => Box::new(Memory),
        };
        let capacity = Capacity {
            works: config.max_works,
            pictures: config.max_pictures.saturating_mul(views::KEPT),
            fingerprints: config.max_text_fingerprints,
        };
        let model = embedder.as_deref().map(model_of);
        let mut lists = Lists::new();
        for (tenant, mut list) in store.load(capacity)? {
            if list.vectors_become(model.as_deref()) {
                tracing::warn!(%tenant, "vectors of protected works are another model's and were dropped");
            }
            lists.insert(tenant, Arc::new(list));
        }
        if lists.len() > config.max_tenants {
            let (kept, most) = (lists.len(), config.max_tenants);
            return Err(ModerationError::Config(format!(
                "works.max_tenants is {most}, the folder has {kept}"
            )));
        }
        Ok(Self {
            lists: ArcSwap::from_pointee(lists),
            store,
            capacity,
            max_tenants: config.max_tenants,
            pool,
            embedder,
            searches: Workers::new(searches),
            changes: Workers::new(1),
        })
    }

    /// A tenant's list; `None` if nothing is on it.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> Option<Arc<List>> {
        self.lists.load().get(tenant).cloned()
    }

    /// What turns pictures into vectors.
    pub(crate) fn embedder(&self) -> Option<&Arc<dyn ImageDetector>> {
        self.embedder.as_ref()
    }

    /// What is kept of an encoded picture.
    ///
    /// # Errors
    /// The bytes are no picture that may be decoded, or one without contrast, which could not be told from others; or the model
    /// failed.
    pub async fn picture(&self, data: Bytes, call: &Call) -> Result<Vec<Picture>, ModerationError> {
        let embedder = self.embedder.clone();
        let keep = move |picture: &RgbImage| views::kept(picture, embedder.as_deref());
        let views = self.pool.decode(data, keep).await?;
        let pictures = views.into_iter().map(async |(fingerprint, input)| {
            Ok::<_, ModerationError>(Picture { fingerprint, vector: self.vector(input, call).await? })
        });
        try_join_all(pictures).await
    }

    /// The vector of what a model reads of a picture; none for nothing.
    ///
    /// # Errors
    /// The model failed.
    pub(crate) async fn vector(
        &self,
        input: Option<Prepared>,
        call: &Call,
    ) -> Result<Option<UnitVector>, ModerationError> {
        match (&self.embedder, input) {
            (Some(embedder), Some(input)) => embedder.embed(input, call).await,
            (None, _) | (_, None) => Ok(None),
        }
    }

    /// What is kept of a text: nothing, if it is too short.
    ///
    /// # Errors
    /// The deadline passes before its turn comes.
    pub async fn text(&self, text: String, call: &Call) -> Result<TextFingerprint, ModerationError> {
        self.searches.run(call.deadline(), move || Ok(TextFingerprint::of(readable(&text).text()))).await
    }

    /// Puts works on the caller's list, all or none; says how many replace others.
    ///
    /// # Errors
    /// The list is full or can't be kept, or there are too many lists.
    pub async fn add(self: &Arc<Self>, works: Vec<NewWork>, call: &Call) -> Result<usize, ModerationError> {
        self.change(call, move |list| {
            let mut replaced = 0;
            for work in works {
                replaced += usize::from(list.add(work)?);
            }
            Ok(replaced)
        })
        .await
    }

    /// Takes works off the caller's list; gives back the ids that are not on it.
    ///
    /// # Errors
    /// The list can't be kept.
    pub async fn remove(
        self: &Arc<Self>,
        mut ids: Vec<String>,
        call: &Call,
    ) -> Result<Vec<String>, ModerationError> {
        if self.of(call.tenant()).is_none() {
            return Ok(ids);
        }
        self.change(call, move |list| {
            ids.retain(|id| !list.remove(id));
            Ok(ids)
        })
        .await
    }

    /// Runs to its end even if the caller leaves.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        call: &Call,
        edit: impl FnOnce(&mut List) -> Result<T, ModerationError> + Send + 'static,
    ) -> Result<T, ModerationError> {
        let (works, tenant) = (Arc::clone(self), call.tenant().clone());
        let change = move || {
            let mut lists = Lists::clone(&works.lists.load());
            if !lists.contains_key(&tenant) && lists.len() >= works.max_tenants {
                return Err(ModerationError::TooManyLists);
            }
            let mut list = lists.get(&tenant).map_or_else(|| works.new_list(), |list| List::clone(list));
            let answer = edit(&mut list)?;
            works.store.save(&tenant, &list)?;
            match list.is_empty() {
                true => lists.remove(&tenant),
                false => lists.insert(tenant, Arc::new(list)),
            };
            works.lists.store(Arc::new(lists));
            Ok(answer)
        };
        self.changes.run(call.deadline(), change).await
    }

    /// Works on the caller's list that a text quotes, disguises seen through; at most so many.
    ///
    /// # Errors
    /// The deadline passes before its turn comes.
    pub async fn find_text(
        &self,
        text: String,
        most: usize,
        call: &Call,
    ) -> Result<Vec<Match>, ModerationError> {
        let Some(list) = self.of(call.tenant()) else { return Ok(Vec::new()) };
        let search = move || {
            let seen = readable(&text);
            let mut found = list.find_text(seen.text(), most);
            for range in found.iter_mut().flat_map(|found| &mut found.ranges) {
                *range = seen.original(range.clone());
            }
            Ok(found)
        };
        self.searches.run(call.deadline(), search).await
    }

    fn new_list(&self) -> List {
        let mut list = List::new(self.capacity);
        list.vectors_become(self.embedder.as_deref().map(model_of).as_deref());
        list
    }

    /// What is asked about an encoded picture.
    ///
    /// # Errors
    /// The bytes are no picture that may be decoded, or the model failed.
    pub async fn query(
        &self,
        data: Bytes,
        call: &Call,
    ) -> Result<(ImageQuery, Option<UnitVector>), ModerationError> {
        let embedder = self.embedder.clone();
        let ask = move |picture: &RgbImage| views::asked(picture, embedder.as_deref());
        let (query, input) = self.pool.decode(data, ask).await?;
        Ok((query, self.vector(input, call).await?))
    }

    /// Works on the caller's list that have a picture like this one; at most so many.
    ///
    /// # Errors
    /// The deadline passes before its turn comes.
    pub async fn find_picture(
        &self,
        query: ImageQuery,
        vector: Option<UnitVector>,
        most: usize,
        call: &Call,
    ) -> Result<Vec<Match>, ModerationError> {
        let Some(list) = self.of(call.tenant()) else { return Ok(Vec::new()) };
        self.searches
            .run(call.deadline(), move || Ok(list.find_picture(&query, vector.as_ref(), most)?))
            .await
    }
}

/// What files call the model that vectors are of.
fn model_of(embedder: &dyn ImageDetector) -> String {
    let model = embedder.about().model.clone();
    format!("{}@{}", model.id, model.revision)
}

#[cfg(test)]
mod tests;
