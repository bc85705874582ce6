//! Where a server is: its addresses and, for `https`, whose certificate it must show. Looked up once, before anything is measured.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::stamped::{Noting, Socket, Stamped};

/// Where to connect.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// Tried in this order, for every connection.
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Before the first connection is made, and until the last is gone.
    _noting: Arc<Noting>,
}

impl Endpoint {
    /// Resolves the host of `root`; for `https`, loads the certificates that this machine trusts.
    ///
    /// # Errors
    /// Why there is nothing to connect to.
    pub(super) async fn of(root: &Url) -> Result<Self, String> {
        let addresses = resolve(root).await?;
        let tls = if root.scheme() == "https" { Some(tls(root)?) } else { None };
        let noting =
            Noting::begin().map_err(|e| format!("the kernel does not note when data arrive (SO_TIMESTAMPNS): {e}"))?;
        Ok(Self { addresses, tls, _noting: Arc::new(noting) })
    }

    /// A new connection, TLS included.
    ///
    /// # Errors
    /// Whatever the network or the server's certificate says against it.
    pub(super) async fn connect(&self) -> std::io::Result<Socket> {
        let tcp = TcpStream::connect(self.addresses.as_slice()).await?;
        tcp.set_nodelay(true)?;
        let stamped = Stamped::new(tcp)?;
        Ok(match &self.tls {
            None => Socket::Plain(stamped),
            Some((connector, name)) => Socket::Tls(Box::new(connector.connect(name.clone(), stamped).await?)),
        })
    }

    /// The addresses, for a person to read.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

async fn resolve(root: &Url) -> Result<Vec<SocketAddr>, String> {
    let port = root.port_or_known_default().unwrap_or(80);
    let host = match root.host() {
        Some(Host::Ipv4(address)) => return Ok(vec![(address, port).into()]),
        Some(Host::Ipv6(address)) => return Ok(vec![(address, port).into()]),
        Some(Host::Domain(host)) => host,
        None => return Err("it names no host".to_owned()),
    };
    let found = tokio::net::lookup_host((host, port)).await.map_err(|e| format!("host `{host}` is not known: {e}"))?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(format!("host `{host}` has no address"));
    }
    // One family first: the same address must be tried first for every connection.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

fn tls(root: &Url) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = match root.host() {
        Some(Host::Ipv4(address)) => ServerName::from(std::net::IpAddr::from(address)),
        Some(Host::Ipv6(address)) => ServerName::from(std::net::IpAddr::from(address)),
        Some(Host::Domain(host)) => ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?,
        None => return Err("it names no host".to_owned()),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|e| format!("no TLS: {e}"))?
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}
