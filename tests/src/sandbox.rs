//! Real services on ports chosen by the system.

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{LazyLock, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use atelier_gateway::AuditDestination;
use atelier_rpc::Listeners;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime, sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::Clients;

/// Longest a service may take from start to SERVING on a busy two-core machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A service that runs in this process, on a port of its own.
pub struct Running {
    /// Where its gRPC API is.
    pub grpc: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub admin: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Binds two loopback ports, hands them to `serve` and does not wait until it is ready.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start<F, S>(serve: F) -> anyhow::Result<Self>
    where
        F: FnOnce(Listeners, CancellationToken) -> S,
        S: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (grpc, admin) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let (grpc_address, admin_address) = (grpc.local_addr()?, admin.local_addr()?);
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(Listeners { grpc, admin: Some(admin) }, stop.clone()));
        Ok(Self { grpc: grpc_address, admin: admin_address, stop, task })
    }

    /// A text service.
    ///
    /// # Errors
    /// It can't bind or does not become ready.
    pub async fn text(config: atelier_text::Config) -> anyhow::Result<Self> {
        let serve = |listeners, stop: CancellationToken| {
            atelier_text::serve(config, listeners, async move { stop.cancelled().await })
        };
        Self::start(serve).await?.ready().await
    }

    /// An image service.
    ///
    /// # Errors
    /// It can't bind or does not become ready.
    pub async fn image(config: atelier_image::Config) -> anyhow::Result<Self> {
        let serve = |listeners, stop: CancellationToken| {
            atelier_image::serve(config, listeners, async move { stop.cancelled().await })
        };
        Self::start(serve).await?.ready().await
    }

    /// A moderation service.
    ///
    /// # Errors
    /// It can't bind or does not become ready.
    pub async fn moderation(config: atelier_moderation::Config) -> anyhow::Result<Self> {
        let serve = |listeners, stop: CancellationToken| {
            atelier_moderation::serve(config, listeners, async move { stop.cancelled().await })
        };
        Self::start(serve).await?.ready().await
    }

    async fn ready(self) -> anyhow::Result<Self> {
        let start = Instant::now();
        while self.health("").await? != Some(ServingStatus::Serving) {
            ensure!(!self.task.is_finished(), "the service ended: {:?}", self.task.await);
            ensure!(start.elapsed() < READY_TIMEOUT, "not SERVING after {READY_TIMEOUT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(self)
    }

    /// Health of a gRPC service by name; `None` when nobody answers.
    ///
    /// # Errors
    /// The address is no URI.
    pub async fn health(&self, service: &str) -> anyhow::Result<Option<ServingStatus>> {
        let Ok(channel) = Endpoint::try_from(self.endpoint())?.connect().await else {
            return Ok(None);
        };
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel).check(request).await;
        Ok(answer.ok().map(|answer| answer.into_inner().status()))
    }

    /// `http://` and the address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// A connection to it, made at the first call.
    ///
    /// # Panics
    /// Never: an address is always a URI.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Endpoint::try_from(self.endpoint()).expect("an address is a URI").connect_lazy()
    }

    /// Asks it to drain, without waiting.
    pub fn drain(&self) {
        self.stop.cancel();
    }

    /// Waits for its end after [`Self::drain`].
    ///
    /// # Errors
    /// What the service itself returned.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.task.await.context("the service panicked")?
    }

    /// Ends it at once, as a crash would: open connections are dropped.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Runtime of the services that all tests of a binary share: a test's own ends with the test.
static SHARED: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads can be started"));

struct Shared {
    text: SocketAddr,
    moderation: SocketAddr,
}

async fn shared() -> anyhow::Result<&'static Shared> {
    static STARTED: OnceLock<Shared> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::const_new(());
    let _one = STARTING.lock().await;
    if STARTED.get().is_none() {
        let start = async {
            let text = Running::text(atelier_text::Config::default()).await?;
            let moderation = Running::moderation(atelier_moderation::Config::default()).await?;
            anyhow::Ok(Shared { text: text.grpc, moderation: moderation.grpc })
        };
        let started = SHARED.spawn(start).await??;
        STARTED.get_or_init(|| started);
    }
    STARTED.get().context("just started")
}

/// The image service, which fewer tests need.
async fn shared_images() -> anyhow::Result<SocketAddr> {
    static STARTED: OnceLock<SocketAddr> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::const_new(());
    let _one = STARTING.lock().await;
    if let Some(&started) = STARTED.get() {
        return Ok(started);
    }
    let running = SHARED.spawn(Running::image(atelier_image::Config::default())).await??;
    Ok(*STARTED.get_or_init(|| running.grpc))
}

/// A gateway of its own, its policy file and its audit trail.
pub struct Sandbox {
    /// The gateway.
    pub gateway: Running,
    /// Typed clients of the gateway and the services behind it.
    pub clients: Clients,
    folder: TempDir,
}

/// What a [`Sandbox`] is made of.
#[derive(Default)]
pub struct SandboxBuilder {
    policy: Option<String>,
    text: Option<String>,
    moderation: Option<String>,
    images: bool,
}

impl Sandbox {
    /// A gateway with the default policy in front of the shared services.
    ///
    /// # Errors
    /// Something did not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// For a sandbox with a difference.
    #[must_use]
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// Path of the policy file.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    /// Lines of the audit trail, as soon as `complete` holds of them: a decision takes effect when its line is queued,
    /// and is on disk a moment later.
    ///
    /// # Errors
    /// The file can't be read, a line is no JSON, or ten seconds have passed.
    pub async fn audit(
        &self,
        complete: impl Fn(&[serde_json::Value]) -> bool,
    ) -> anyhow::Result<Vec<serde_json::Value>> {
        let started = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl"))?;
            // The last line may still be in the writing.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let lines = whole.lines().map(|line| serde_json::from_str(line).context("audit line"));
            let lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
            if complete(&lines) {
                return Ok(lines);
            }
            anyhow::ensure!(
                started.elapsed() < Duration::from_secs(10),
                "the audit trail stays at {lines:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl SandboxBuilder {
    /// Uses this policy file.
    #[must_use]
    pub fn policy(mut self, yaml: &str) -> Self {
        self.policy = Some(yaml.to_owned());
        self
    }

    /// Uses this text service in place of the shared one.
    #[must_use]
    pub fn text(mut self, endpoint: String) -> Self {
        self.text = Some(endpoint);
        self
    }

    /// Uses this moderation service in place of the shared one.
    #[must_use]
    pub fn moderation(mut self, endpoint: String) -> Self {
        self.moderation = Some(endpoint);
        self
    }

    /// With the shared image service behind the gateway.
    #[must_use]
    pub fn images(mut self) -> Self {
        self.images = true;
        self
    }

    /// Starts it and waits until the gateway is ready.
    ///
    /// # Errors
    /// Something did not start.
    pub async fn start(self) -> anyhow::Result<Sandbox> {
        let mut sandbox = self.start_cold().await?;
        sandbox.gateway = sandbox.gateway.ready().await?;
        Ok(sandbox)
    }

    /// Starts it without waiting for the gateway to become ready.
    ///
    /// # Errors
    /// Something did not start.
    pub async fn start_cold(self) -> anyhow::Result<Sandbox> {
        let folder = TempDir::new()?;
        let (text, moderation) = match (self.text, self.moderation) {
            (Some(text), Some(moderation)) => (text, moderation),
            (text, moderation) => {
                let shared = shared().await?;
                let of = |address: SocketAddr| format!("http://{address}");
                (text.unwrap_or_else(|| of(shared.text)), moderation.unwrap_or_else(|| of(shared.moderation)))
            }
        };
        let mut config = atelier_gateway::Config::default();
        config.text.upstreams[0].connection.endpoint.clone_from(&text);
        config.moderation.upstreams[0].endpoint.clone_from(&moderation);
        if self.images {
            let endpoint = format!("http://{}", shared_images().await?);
            config.image.upstreams[0].connection.endpoint = endpoint;
            config.image.required = true;
        } else {
            config.image.upstreams.clear();
        }
        config.audit.destination = AuditDestination::File;
        config.audit.file = Some(folder.path().join("audit.jsonl"));
        if let Some(policy) = self.policy {
            let file = folder.path().join("policy.yaml");
            std::fs::write(&file, policy)?;
            config.policy.file = Some(file);
        }
        let serve = |listeners, stop: CancellationToken| {
            atelier_gateway::serve(config, listeners, async move { stop.cancelled().await })
        };
        let gateway = Running::start(serve).await?;
        let clients = Clients::new(&gateway.endpoint(), &text, &moderation)?;
        Ok(Sandbox { gateway, clients, folder })
    }
}
