//! TLS, mutual TLS and certificates that change.

use std::{fs, path::Path, time::Duration};

use atelier_rpc::{
    ClientConfig, ServerConfig,
    config::{ClientTls, ServerTls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::toy::{Running, config, order, start, within};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for `localhost` and its key.
fn issue(folder: &Path, name: &str, authority: &Authority) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn server_config(folder: &TempDir, client_ca: Option<&str>) -> ServerConfig {
    let path = |name: &str| folder.path().join(name);
    let tls = ServerTls {
        certificate: path("server.pem"),
        key: path("server.key"),
        client_ca: client_ca.map(path),
        reload_interval: Duration::from_millis(50),
    };
    ServerConfig { tls: Some(tls), ..config() }
}

async fn call(server: &Running, tls: ClientTls) -> Result<(), tonic::Status> {
    let config = ClientConfig {
        tls: Some(tls),
        ..ClientConfig::to(format!("https://localhost:{}", server.grpc.port()))
    };
    within(10, server.client_with(&config).moderate_text(order(""))).await.map(drop)
}

fn trusting(folder: &TempDir, ca: &str) -> ClientTls {
    ClientTls { ca: Some(folder.path().join(ca)), ..ClientTls::default() }
}

#[tokio::test]
async fn callers_check_the_server() {
    let folder = TempDir::new().unwrap();
    let (ours, other) = (authority(), authority());
    issue(folder.path(), "server", &ours);
    fs::write(folder.path().join("ours.pem"), ours.pem()).unwrap();
    fs::write(folder.path().join("other.pem"), other.pem()).unwrap();
    let server = start(server_config(&folder, None)).await;
    call(&server, trusting(&folder, "ours.pem")).await.unwrap();
    call(&server, trusting(&folder, "other.pem")).await.unwrap_err();
    assert_eq!(server.toy.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn mutual_tls_refuses_callers_it_does_not_know() {
    let folder = TempDir::new().unwrap();
    let (ours, other) = (authority(), authority());
    issue(folder.path(), "server", &ours);
    issue(folder.path(), "friend", &ours);
    issue(folder.path(), "stranger", &other);
    fs::write(folder.path().join("ours.pem"), ours.pem()).unwrap();
    let server = start(server_config(&folder, Some("ours.pem"))).await;
    let with = |name: &str| ClientTls {
        certificate: Some(folder.path().join(format!("{name}.pem"))),
        key: Some(folder.path().join(format!("{name}.key"))),
        ..trusting(&folder, "ours.pem")
    };
    call(&server, with("friend")).await.unwrap();
    call(&server, with("stranger")).await.unwrap_err();
    call(&server, trusting(&folder, "ours.pem")).await.unwrap_err();
    assert_eq!(server.toy.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn changed_certificates_are_used_and_broken_ones_are_not() {
    let folder = TempDir::new().unwrap();
    let (old, new) = (authority(), authority());
    fs::write(folder.path().join("old.pem"), old.pem()).unwrap();
    fs::write(folder.path().join("new.pem"), new.pem()).unwrap();
    issue(folder.path(), "server", &old);
    let server = start(server_config(&folder, None)).await;
    call(&server, trusting(&folder, "old.pem")).await.unwrap();

    fs::write(folder.path().join("server.pem"), "not a certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    call(&server, trusting(&folder, "old.pem")).await.unwrap();

    issue(folder.path(), "server", &new);
    within(10, async {
        while call(&server, trusting(&folder, "new.pem")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    call(&server, trusting(&folder, "old.pem")).await.unwrap_err();
}
