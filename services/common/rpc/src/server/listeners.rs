//! The sockets of a server, bound before anything slow happens.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::{RpcError, config::ServerConfig};

/// The sockets of a server.
#[derive(Debug)]
pub struct Listeners {
    /// The gRPC port.
    pub grpc: TcpListener,
    /// The admin port, if it is served.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the configured addresses.
    ///
    /// # Errors
    /// An address is in use or not ours.
    pub async fn bind(config: &ServerConfig) -> Result<Self, RpcError> {
        let admin = match config.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Self { grpc: bind(config.listen).await?, admin })
    }

    /// Binds both ports to free ones of the loopback interface.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn local() -> Result<Self, RpcError> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self { grpc: bind(any).await?, admin: Some(bind(any).await?) })
    }

    /// Address of the gRPC port; `None` if the system does not tell.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.local_addr().ok()
    }

    /// Address of the admin port; `None` if it is not served.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RpcError> {
    TcpListener::bind(address).await.map_err(|source| RpcError::Bind { address, source })
}
