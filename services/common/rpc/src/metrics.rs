//! The process's Prometheus registry.

use std::{fs, sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Names that end so are histograms with these bounds; seconds reach from a cached check to a long generation.
const BUCKETS: [(&str, &[f64]); 4] = [
    (
        "_seconds",
        &[
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
            120.0, 300.0,
        ],
    ),
    ("_items", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
    ("_tokens", &[1.0, 8.0, 32.0, 128.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0]),
    ("_bytes", &[64.0, 1024.0, 16384.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0]),
];

/// Histogram samples wait in memory until they are sorted into buckets; this bounds how many.
pub(crate) const UPKEEP: Duration = Duration::from_secs(5);

/// The registry; installed as the process's recorder by the first call. Where another recorder is installed already
/// it stays empty.
pub(crate) fn registry() -> &'static PrometheusHandle {
    static REGISTRY: OnceLock<PrometheusHandle> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let recorder = with_buckets().unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; /metrics stays empty");
        }
        metrics::gauge!("atelier_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    })
}

/// The text that Prometheus scrapes.
pub(crate) fn render() -> String {
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!("process_resident_memory_bytes").set(bytes);
    }
    registry().render()
}

fn with_buckets() -> Result<PrometheusBuilder, BuildError> {
    BUCKETS.iter().try_fold(PrometheusBuilder::new(), |builder, (suffix, bounds)| {
        builder.set_buckets_for_metric(Matcher::Suffix((*suffix).to_owned()), bounds)
    })
}

/// `VmRSS` of proc(5), which is given in KiB; `None` where there is no such file.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024.0)
}
