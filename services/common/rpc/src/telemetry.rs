//! Logs to standard error, traces to a collector.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicBool, Ordering},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    RpcError, client,
    config::{ClientConfig, LogFormat, TelemetryConfig},
};

static EXPORTS_TRACES: AtomicBool = AtomicBool::new(false);

/// Sends what has not been exported yet when it is dropped; keep it until the end of `main`.
#[must_use = "traces are flushed when the guard is dropped"]
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.provider.take().map(|provider| provider.shutdown()) {
            tracing::warn!(error = %error, "traces could not be flushed");
        }
    }
}

/// Installs logging and, where configured, trace export for the process. `service` names the program in traces.
///
/// Call it once, inside the runtime: the exporter connects there. In a process that has a subscriber already (tests,
/// several services in one process) nothing changes.
///
/// # Errors
/// The log filter, the collector's address or a header is malformed.
pub fn init(service: &str, config: &TelemetryConfig) -> Result<Guard, RpcError> {
    crate::metrics::registry();
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| RpcError::Telemetry(format!("filter {:?}: {error}", config.filter)))?;
    let provider = match &config.otlp_endpoint {
        None => None,
        Some(endpoint) => Some(provider(service, endpoint, config)?),
    };
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("atelier")));
    let installed = Registry::default().with(filter).with(lines(config.format)).with(traces).try_init();
    if installed.is_err() {
        return Ok(Guard { provider: None });
    }
    EXPORTS_TRACES.store(provider.is_some(), Ordering::Relaxed);
    Ok(Guard { provider })
}

/// Spans of this process are exported.
pub(crate) fn exports_traces() -> bool {
    EXPORTS_TRACES.load(Ordering::Relaxed)
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    // Standard output belongs to the program's answers.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

fn provider(service: &str, endpoint: &str, config: &TelemetryConfig) -> Result<SdkTracerProvider, RpcError> {
    let mut headers = MetadataMap::new();
    for (name, value) in &config.otlp_headers {
        let name: AsciiMetadataKey =
            name.parse().map_err(|_| RpcError::Telemetry(format!("{name:?} is no header name")))?;
        let value: AsciiMetadataValue = value
            .expose()
            .parse()
            .map_err(|_| RpcError::Telemetry(format!("the value of header {name} is malformed")))?;
        headers.insert(name, value);
    }
    let collector = ClientConfig {
        request_timeout: config.otlp_timeout,
        tls: config.otlp_tls.clone(),
        ..ClientConfig::to(endpoint)
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(client::endpoint(&collector)?.connect_lazy())
        .with_timeout(config.otlp_timeout)
        .with_metadata(headers)
        .build()
        .map_err(|error| RpcError::Telemetry(format!("collector {endpoint}: {error}")))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.trace_sample_ratio)));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
        .build())
}
