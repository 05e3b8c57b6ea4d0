//! Settings of the one process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use atelier_inference::RuntimeConfig;
use atelier_rpc::{ServerConfig, TelemetryConfig};
use serde::{Deserialize, Serialize};

/// Settings of the one process: those of its parts, and what they share.
///
/// Logs, traces, ONNX Runtime and the admin port are the process's: `telemetry` and `runtime` here hold for all parts
/// and so does `gateway.server.admin_listen`; the same settings of the parts are not used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Logs and traces of the process.
    pub telemetry: TelemetryConfig,
    /// ONNX Runtime, with the thread pool that all models share.
    pub runtime: RuntimeConfig,
    /// How the services behind the gateway are reached.
    pub services: ServicesConfig,
    /// The gateway. The endpoints of its first upstreams are filled in; further ones are used as they stand.
    pub gateway: atelier_gateway::Config,
    /// The text service.
    pub text: atelier_text::Config,
    /// The image service.
    pub image: atelier_image::Config,
    /// The moderation service.
    pub moderation: atelier_moderation::Config,
}

/// How the services behind the gateway are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServicesConfig {
    /// Let the services listen where their own `server` settings say, for callers other than the gateway too.
    /// Default: false, which is a free loopback port each, in plain text.
    pub expose: bool,
}

impl ServicesConfig {
    /// What is left of a service's own server settings.
    pub(crate) fn apply(&self, server: &mut ServerConfig) {
        // One admin port tells of the whole process: health behind the gateway shows in the gateway's.
        server.admin_listen = None;
        if !self.expose {
            server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            server.tls = None;
        }
    }
}

/// Where the gateway finds a service that listens at `bound`.
pub(crate) fn endpoint(bound: SocketAddr) -> String {
    // 0.0.0.0 and :: accept from everywhere but are nowhere one could connect to.
    let host = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(host, bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_addresses_are_reached_by_loopback() {
        for (bound, expected) in [
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:2", "http://[::1]:2"),
            ("10.0.0.7:3", "http://10.0.0.7:3"),
        ] {
            assert_eq!(endpoint(bound.parse().unwrap()), expected);
        }
    }

    #[test]
    fn services_stay_inside_unless_exposed() {
        let own = ServerConfig {
            listen: "0.0.0.0:50052".parse().unwrap(),
            admin_listen: Some("0.0.0.0:9052".parse().unwrap()),
            ..ServerConfig::default()
        };
        let (mut inside, mut exposed) = (own.clone(), own.clone());
        ServicesConfig { expose: false }.apply(&mut inside);
        assert!(
            inside.listen.ip().is_loopback() && inside.listen.port() == 0 && inside.admin_listen.is_none()
        );
        ServicesConfig { expose: true }.apply(&mut exposed);
        assert_eq!(exposed.listen, own.listen);
        assert_eq!(exposed.admin_listen, None);
    }

    #[test]
    fn defaults_survive_a_round_trip_and_unknown_keys_do_not() {
        let json = serde_json::to_value(Config::default()).unwrap();
        let read: Config = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), json);
        for text in [r#"{"servces": {}}"#, r#"{"services": {"expos": true}}"#] {
            assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
