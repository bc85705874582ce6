//! Opening the connection to the Docker daemon.

use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::address::{AddressInput, DockerAddress, Transport, resolve};
use super::error::{LaunchError, LaunchStep, with_sources};

/// The oldest API that vgrid is made for: Docker 20.10.
const OLDEST_API: (usize, usize) = (1, 41);

/// One request to the daemon may take this long; creating a container on a slow disk is the longest.
const REQUEST_TIMEOUT_S: u64 = 120;

/// Streams (logs, wait, events) send their headers at once, but may wait for the first byte for as long as a boot takes.
const STREAM_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A daemon that does not answer within this is dead.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A negotiated connection.
pub(super) struct Connection {
    /// For requests that answer soon.
    pub docker: Docker,
    /// For streams and long waits.
    pub streams: Docker,
    /// Where the daemon is.
    pub address: DockerAddress,
    /// The API version in use, `(major, minor)`.
    pub api: (usize, usize),
    /// The daemon's own version, e.g. `20.10.24`.
    pub engine_version: String,
}

/// Connects to the daemon that the environment names.
pub(super) async fn from_environment() -> Result<Connection, LaunchError> {
    let env = |name: &str| std::env::var(name).ok();
    open(resolve(&AddressInput { env: &env, home: std::env::home_dir() })?).await
}

/// Connects and negotiates the API version.
pub(super) async fn open(address: DockerAddress) -> Result<Connection, LaunchError> {
    // Only TLS needs it; main may have done it already, then this changes nothing.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = dial(&address).map_err(|error| unreachable_at(&address, &error))?;
    let hello = tokio::time::timeout(HELLO_TIMEOUT, client.negotiate_version()).await;
    let docker = match hello {
        Ok(Ok(docker)) => docker,
        Ok(Err(error)) => return Err(unreachable_at(&address, &error)),
        Err(_) => {
            let silent = LaunchError::new(
                LaunchStep::Connect,
                format!(
                    "the daemon at {} ({}) does not answer within {} s",
                    address.url(),
                    address.origin,
                    HELLO_TIMEOUT.as_secs()
                ),
            );
            return Err(LaunchError { daemon_unreachable: true, ..silent }
                .help("check the daemon: `docker version`, `systemctl status docker`"));
        }
    };
    let used = docker.client_version();
    let api = (used.major_version, used.minor_version);
    if api < OLDEST_API {
        return Err(LaunchError::new(
            LaunchStep::Connect,
            format!(
                "the daemon at {} speaks API {}.{}; vgrid needs {}.{} or newer",
                address.url(),
                api.0,
                api.1,
                OLDEST_API.0,
                OLDEST_API.1
            ),
        )
        .help("update Docker to 20.10 or newer"));
    }
    let version = docker.version().await.map_err(|error| unreachable_at(&address, &error))?;
    let streams = docker.clone().with_timeout(STREAM_TIMEOUT);
    Ok(Connection { docker, streams, address, api, engine_version: version.version.unwrap_or_default() })
}

fn dial(address: &DockerAddress) -> Result<Docker, bollard::errors::Error> {
    match &address.transport {
        Transport::Unix(path) => {
            Docker::connect_with_unix(&path.to_string_lossy(), REQUEST_TIMEOUT_S, API_DEFAULT_VERSION)
        }
        Transport::Tcp(host) => {
            Docker::connect_with_http(&format!("tcp://{host}"), REQUEST_TIMEOUT_S, API_DEFAULT_VERSION)
        }
        Transport::Tls { address, certificates } => Docker::connect_with_ssl(
            &format!("tcp://{address}"),
            &certificates.join("key.pem"),
            &certificates.join("cert.pem"),
            &certificates.join("ca.pem"),
            REQUEST_TIMEOUT_S,
            API_DEFAULT_VERSION,
        ),
    }
}

fn unreachable_at(address: &DockerAddress, error: &bollard::errors::Error) -> LaunchError {
    let text = with_sources(error);
    let help = match &address.transport {
        Transport::Unix(path) if text.to_lowercase().contains("permission denied") => {
            format!("this user may not use {}: join the group `docker`, or run with sudo", path.display())
        }
        Transport::Unix(_) => {
            "start the daemon (`sudo systemctl start docker`), or set DOCKER_HOST or DOCKER_CONTEXT to the right one"
                .to_owned()
        }
        Transport::Tcp(_) => "check the address, and that the daemon listens there without TLS".to_owned(),
        Transport::Tls { certificates, .. } => {
            format!("check the address, and ca.pem, cert.pem and key.pem in {}", certificates.display())
        }
    };
    let message = format!("no Docker daemon answers at {} ({}): {text}", address.url(), address.origin);
    LaunchError { daemon_unreachable: true, ..LaunchError::new(LaunchStep::Connect, message) }.help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_daemon_is_an_error_that_names_the_address_tried() {
        for transport in [Transport::Unix("/nonexistent/docker.sock".into()), Transport::Tcp("127.0.0.1:1".into())] {
            let address = DockerAddress { transport, origin: "DOCKER_HOST".into() };
            let url = address.url();
            let error = open(address).await.err().unwrap();
            assert!(error.daemon_unreachable && error.message.contains(&url), "{error}");
            assert!(error.help.is_some());
        }
    }
}
