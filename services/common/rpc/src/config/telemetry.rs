//! Logs and traces.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ClientTls, Secret};

/// Settings of logs and traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How log lines are written to standard error. Default: pretty.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`, e.g. `info,atelier_text=debug`. Default: info, and of
    /// ONNX Runtime, which tells of each graph pass at that level, warn.
    pub filter: String,
    /// OTLP/gRPC collector that receives traces, e.g. `http://otel-collector:4317`; none: traces are not exported,
    /// and a caller's trace context is handed on unchanged. Default: none.
    pub otlp_endpoint: Option<String>,
    /// Headers the collector asks for, e.g. an API key. Default: none.
    pub otlp_headers: BTreeMap<String, Secret>,
    /// TLS settings of an `https` collector; none: the public certificate authorities. Default: none.
    pub otlp_tls: Option<ClientTls>,
    /// Longest time one export may take. Default: 5s.
    #[serde(with = "humantime_serde")]
    pub otlp_timeout: Duration,
    /// Share of traces recorded where the caller has not decided, 0 to 1. Default: 1.
    pub trace_sample_ratio: f64,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Pretty,
            filter: "info,ort=warn".to_owned(),
            otlp_endpoint: None,
            otlp_headers: BTreeMap::new(),
            otlp_tls: None,
            otlp_timeout: Duration::from_secs(5),
            trace_sample_ratio: 1.0,
        }
    }
}
