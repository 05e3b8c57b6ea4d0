//! The models of a service, by name: which are loaded, and how they come and go.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use atelier_core::{ModelId, Revision};
use atelier_rpc::Workers;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    TextError,
    catalogue::{Catalogue, LoadedModel},
    config::{Config, Load, ModelConfig},
    memory::{self, Budget, Idle, Reservation},
    metrics,
};

type Models = BTreeMap<ModelId, Arc<Served>>;

/// A model in service. Calls hold a handle to it to their end, and it is out of memory when the last one is dropped.
pub(crate) struct Served {
    model: LoadedModel,
    load: Load,
    /// By the registry's clock.
    last_used: AtomicU64,
    memory: Reservation,
    /// Dropped after the model: whoever waits for its end sees that.
    alive: watch::Sender<()>,
}

impl Served {
    /// Completes when no handle is left and the engine has ended. It keeps neither alive.
    fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut alive = self.alive.subscribe();
        let engine = match &self.model {
            LoadedModel::Generation(model) => Some(model.engine().ended()),
            LoadedModel::Embedding(_) | LoadedModel::Reranking(_) => None,
        };
        async move {
            // Nothing is ever sent: an error is the end.
            let _ = alive.changed().await;
            if let Some(engine) = engine {
                engine.await;
            }
        }
    }
}

impl Deref for Served {
    type Target = LoadedModel;

    fn deref(&self) -> &LoadedModel {
        &self.model
    }
}

/// All models.
pub(crate) struct Registry {
    catalogue: Catalogue,
    models: RwLock<Models>,
    /// Loads that run or wait, of each model.
    loading: Mutex<BTreeMap<ModelId, usize>>,
    default_generation: Option<ModelId>,
    default_embedding: Option<ModelId>,
    default_reranking: Option<ModelId>,
    budget: Arc<Budget>,
    /// Counts uses, to tell which was later.
    clock: AtomicU64,
    /// One load at a time: each uses all processors, and what one needs must not be counted on by another.
    loads: Workers,
}

impl Registry {
    /// Loads the models that are to be there from the start.
    ///
    /// # Errors
    /// A model can't be loaded, two have the same name, or there is none.
    pub(crate) fn start(config: &Config) -> Result<Arc<Self>, TextError> {
        let mut registry = Self {
            catalogue: Catalogue::new(config)?,
            models: RwLock::default(),
            loading: Mutex::default(),
            default_generation: None,
            default_embedding: None,
            default_reranking: None,
            budget: Budget::new(config.memory_budget_bytes),
            clock: AtomicU64::new(0),
            loads: Workers::new(1),
        };
        for model in config.models.iter().filter(|model| model.load == Load::Startup) {
            let served = registry.load_now(model, "")?;
            let default = match &**served {
                LoadedModel::Generation(_) => &mut registry.default_generation,
                LoadedModel::Embedding(_) => &mut registry.default_embedding,
                LoadedModel::Reranking(_) => &mut registry.default_reranking,
            };
            default.get_or_insert_with(|| model.id.clone());
        }
        Ok(Arc::new(registry))
    }

    /// What `describe` says of each loaded model, by id.
    pub(crate) fn list<T>(&self, describe: impl Fn(&LoadedModel) -> T) -> Vec<T> {
        self.read().values().map(|served| describe(served)).collect()
    }

    /// The models that are being loaded or will be, by id.
    pub(crate) fn loading(&self) -> Vec<String> {
        self.loads_by_model().keys().map(ModelId::to_string).collect()
    }

    fn loads_by_model(&self) -> MutexGuard<'_, BTreeMap<ModelId, usize>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A loaded model by name.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Served>, TextError> {
        let found = ModelId::new(id).ok().and_then(|id| self.read().get(&id).cloned());
        found.ok_or_else(|| not_found(id))
    }

    /// The model of that name, or the default one of a task, for use.
    fn find(
        &self,
        id: &str,
        default: Option<&ModelId>,
        task: &'static str,
    ) -> Result<Arc<Served>, TextError> {
        let served = match default {
            _ if !id.is_empty() => self.get(id),
            Some(default) => self.get(default.as_str()),
            None => Err(TextError::ModelNotFound(format!("(the default for {task})"))),
        }?;
        served.last_used.store(self.tick(), Ordering::Relaxed);
        Ok(served)
    }

    /// The model for a generation; the default one if the name is empty.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn for_generation(&self, id: &str) -> Result<Arc<Served>, TextError> {
        self.find(id, self.default_generation.as_ref(), "generation")
    }

    /// The model for an embedding; the default one if the name is empty.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn for_embedding(&self, id: &str) -> Result<Arc<Served>, TextError> {
        self.find(id, self.default_embedding.as_ref(), "embedding")
    }

    /// The model for a ranking; the default cross-encoder, else the default encoder, if the name is empty.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn for_reranking(&self, id: &str) -> Result<Arc<Served>, TextError> {
        let default = self.default_reranking.as_ref().or(self.default_embedding.as_ref());
        self.find(id, default, "reranking")
    }

    /// Any model, for its tokenizer; the default writer, else the default encoder, if the name is empty.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn for_tokenizing(&self, id: &str) -> Result<Arc<Served>, TextError> {
        let default = self.default_generation.as_ref().or(self.default_embedding.as_ref());
        self.find(id, default, "tokenizing")
    }

    /// Loads a model that the catalogue admits, when other loads are done; the load goes on when the caller leaves. One that is
    /// loaded is left as it is if its revision is the wanted one; else the folder's takes its place. `revision`: what the
    /// model's must be; empty: any.
    ///
    /// # Errors
    /// There is no such model, its files can't be served, it does not fit the budget, or the deadline passes before its turn.
    pub(crate) async fn load(
        self: &Arc<Self>,
        id: &str,
        revision: String,
        deadline: Option<Instant>,
    ) -> Result<Arc<Served>, TextError> {
        let config = self.catalogue.find(id)?;
        let loading = Loading::of(self, &config.id);
        self.loads.run(deadline, move || loading.registry.load_now(&config, &revision)).await
    }

    /// Takes a model out of service, and waits until the calls that use it have ended and its memory is free.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) async fn unload(&self, id: &str) -> Result<(), TextError> {
        let found = ModelId::new(id).ok().and_then(|id| self.write().remove(&id));
        let served = found.ok_or_else(|| not_found(id))?;
        self.report();
        tracing::info!(model = %served.model().id, "model taken out of service");
        let gone = served.gone();
        drop(served);
        gone.await;
        self.report();
        Ok(())
    }

    /// Ends all engines and waits for their threads.
    pub(crate) async fn close(&self) {
        let models: Vec<_> = self.read().values().cloned().collect();
        for served in models {
            if let LoadedModel::Generation(model) = &**served {
                model.engine().close().await;
            }
        }
    }

    fn load_now(&self, config: &ModelConfig, revision: &str) -> Result<Arc<Served>, TextError> {
        if let Ok(served) = self.get(config.id.as_str())
            && is_wanted(revision, &served.model().revision)
        {
            return Ok(served);
        }
        let started = Instant::now();
        let made = self.make(config, revision);
        metrics::load(made.is_ok(), started.elapsed());
        let served = Arc::new(made?);
        let revision = &served.model().revision;
        let (seconds, bytes) = (started.elapsed().as_secs_f32(), served.memory.bytes());
        tracing::info!(model = %config.id, %revision, seconds, bytes, "model loaded");
        // Freed when the last call on it has ended, and not under the lock.
        let before = self.write().insert(config.id.clone(), Arc::clone(&served));
        drop(before);
        self.report();
        Ok(served)
    }

    fn make(&self, config: &ModelConfig, revision: &str) -> Result<Served, TextError> {
        let folder = self.catalogue.open(config)?;
        let found = &folder.model().revision;
        if !is_wanted(revision, found) {
            return Err(TextError::invalid("revision", format!("the model's revision is {found}")));
        }
        let mut memory = Reservation::empty(&self.budget);
        self.reserve(&config.id, &mut memory, folder.bytes())?;
        let model = self.catalogue.load(&folder, config).map_err(|cause| TextError::LoadFailed {
            model: config.id.to_string(),
            cause: Box::new(cause),
        })?;
        // Only the loaded graph tells how large a token is. The cache takes memory as it fills: it is not there yet.
        self.reserve(&config.id, &mut memory, model.cache_bytes())?;
        let last_used = AtomicU64::new(self.tick());
        Ok(Served { model, load: config.load, last_used, memory, alive: watch::Sender::new(()) })
    }

    /// Takes memory for a model, in place of idle ones if need be.
    fn reserve(&self, id: &ModelId, memory: &mut Reservation, more: u64) -> Result<(), TextError> {
        while let Err(missing) = memory.grow(more) {
            self.evict(id, missing).map_err(|idle| {
                let budget_bytes = self.budget.limit();
                let others = self.budget.taken().saturating_sub(memory.bytes().saturating_add(idle));
                TextError::InsufficientMemory {
                    model: id.to_string(),
                    needed_bytes: memory.bytes().saturating_add(more),
                    budget_bytes,
                    free_bytes: budget_bytes.saturating_sub(others),
                }
            })?;
        }
        Ok(())
    }

    /// Unloads idle models that hold so many bytes, or none: the error is what they hold. The one whose new revision needs the
    /// room stays. Blocks until their memory is free.
    fn evict(&self, new: &ModelId, missing: u64) -> Result<(), u64> {
        let evicted: Vec<_> = {
            let mut models = self.write();
            // Handles are given out under the lock: a model that has one only is used by nobody.
            let idle = models.iter().filter(|(id, served)| {
                *id != new && served.load == Load::OnDemand && Arc::strong_count(served) == 1
            });
            let idle = idle.map(|(id, served)| Idle {
                id: id.clone(),
                bytes: served.memory.bytes(),
                last_used: served.last_used.load(Ordering::Relaxed),
            });
            let victims = memory::victims(idle.collect(), missing)?;
            victims.iter().filter_map(|id| models.remove(id)).collect()
        };
        for served in evicted {
            tracing::info!(model = %served.model().id, bytes = served.memory.bytes(), "model makes room for another");
            metrics::evicted();
            let gone = served.gone();
            drop(served);
            Handle::current().block_on(gone);
        }
        self.report();
        Ok(())
    }

    fn report(&self) {
        metrics::loaded(self.read().len(), self.budget.taken());
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn read(&self) -> RwLockReadGuard<'_, Models> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Models> {
        self.models.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load, which is listed until this is dropped: at its end, or when nobody waits for its turn any more.
struct Loading {
    registry: Arc<Registry>,
    id: ModelId,
}

impl Loading {
    fn of(registry: &Arc<Registry>, id: &ModelId) -> Self {
        *registry.loads_by_model().entry(id.clone()).or_default() += 1;
        Self { registry: Arc::clone(registry), id: id.clone() }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Entry::Occupied(mut loads) = self.registry.loads_by_model().entry(self.id.clone()) {
            *loads.get_mut() -= 1;
            if *loads.get() == 0 {
                loads.remove();
            }
        }
    }
}

fn not_found(id: &str) -> TextError {
    // The name is the caller's text; a long one is not sent back whole.
    TextError::ModelNotFound(id.chars().take(128).collect())
}

fn is_wanted(revision: &str, found: &Revision) -> bool {
    revision.is_empty() || revision == found.as_str()
}
