//! Which Docker daemon to talk to, by the rules of the docker command: `DOCKER_HOST`, context, default socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::sha256;

use super::error::{LaunchError, LaunchStep};

/// Where the daemon listens when nobody says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// How a daemon is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP without TLS, `host:port`.
    Tcp(String),
    /// TCP with TLS, `host:port`.
    Tls {
        /// Host and port.
        address: String,
        /// Folder of `ca.pem`, `cert.pem`, `key.pem`.
        certificates: PathBuf,
    },
}

/// The daemon's address and where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerAddress {
    /// How it is reached.
    pub transport: Transport,
    /// Where the address comes from, for messages: `DOCKER_HOST`, `context gpu-box`, `default`.
    pub origin: String,
}

impl DockerAddress {
    /// The address as it would stand in `DOCKER_HOST`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.transport {
            Transport::Unix(path) => format!("unix://{}", path.display()),
            Transport::Tcp(address) | Transport::Tls { address, .. } => format!("tcp://{address}"),
        }
    }

    /// The host on which published ports appear: `127.0.0.1` for a socket, the daemon's host for TCP.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.transport {
            Transport::Unix(_) => "127.0.0.1".to_owned(),
            Transport::Tcp(address) | Transport::Tls { address, .. } => {
                address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned()
            }
        }
    }

    /// Whether the daemon runs on this machine, so that paths and container addresses can be checked from here.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.transport, Transport::Unix(_))
    }
}

/// What the choice depends on: environment and home.
pub struct AddressInput<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The home folder, where `.docker` stands.
    pub home: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

#[derive(Deserialize)]
struct ContextMeta {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, ContextEndpoint>,
}

#[derive(Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

/// Resolves the daemon's address: `DOCKER_HOST`, then `DOCKER_CONTEXT`, then `currentContext` of `config.json`, then the socket.
///
/// # Errors
/// An address of a kind that vgrid does not speak, an unknown context, unreadable files.
pub fn resolve(input: &AddressInput<'_>) -> Result<DockerAddress, LaunchError> {
    let env = |name: &str| (input.env)(name).filter(|value| !value.trim().is_empty());
    let config_dir = env("DOCKER_CONFIG").map(PathBuf::from).or_else(|| input.home.as_ref().map(|h| h.join(".docker")));
    if let Some(host) = env("DOCKER_HOST") {
        let verify = env("DOCKER_TLS_VERIFY").is_some();
        let certificates = env("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config_dir.clone());
        let transport = parse_host(&host, "DOCKER_HOST", certificates.filter(|_| verify))?;
        if verify && matches!(transport, Transport::Tcp(_)) {
            return Err(LaunchError::new(
                LaunchStep::Connect,
                "DOCKER_TLS_VERIFY is set and there is no folder of certificates",
            )
            .help("set DOCKER_CERT_PATH to the folder of ca.pem, cert.pem and key.pem"));
        }
        return Ok(DockerAddress { transport, origin: "DOCKER_HOST".to_owned() });
    }
    let (context, origin) = match env("DOCKER_CONTEXT") {
        Some(name) => (name, "DOCKER_CONTEXT"),
        None => (current_context(config_dir.as_deref())?, "currentContext of config.json"),
    };
    if context.is_empty() || context == "default" {
        return Ok(DockerAddress { transport: Transport::Unix(DEFAULT_SOCKET.into()), origin: "default".to_owned() });
    }
    let Some(config_dir) = config_dir else {
        return Err(LaunchError::new(
            LaunchStep::Connect,
            format!("Docker context `{context}` is named by {origin}, and there is no home folder to read it from"),
        )
        .help("set HOME or DOCKER_CONFIG, or set DOCKER_HOST instead"));
    };
    context_address(&config_dir, &context, origin)
}

/// The name in `config.json`, empty when there is none.
fn current_context(config_dir: Option<&Path>) -> Result<String, LaunchError> {
    let Some(path) = config_dir.map(|dir| dir.join("config.json")) else { return Ok(String::new()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(unreadable(&path, &error)),
    };
    serde_json::from_str::<ConfigFile>(&text)
        .map(|file| file.current_context)
        .map_err(|error| unreadable(&path, &error))
}

/// The address of a named context: `contexts/meta/<sha256 of the name>/meta.json` and its TLS folder.
fn context_address(config_dir: &Path, name: &str, origin: &str) -> Result<DockerAddress, LaunchError> {
    let digest = sha256(&[name.as_bytes()]);
    let path = config_dir.join("contexts/meta").join(&digest).join("meta.json");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            LaunchError::new(
                LaunchStep::Connect,
                format!("Docker context `{name}` ({origin}) does not exist in {}", config_dir.display()),
            )
            .help("`docker context ls` lists the contexts; `docker context use NAME` or DOCKER_CONTEXT chooses one")
        } else {
            unreadable(&path, &error)
        }
    })?;
    let meta: ContextMeta = serde_json::from_str(&text).map_err(|error| unreadable(&path, &error))?;
    let Some(endpoint) = meta.endpoints.get("docker").filter(|e| !e.host.is_empty()) else {
        return Err(LaunchError::new(
            LaunchStep::Connect,
            format!("Docker context `{name}` names no docker endpoint ({})", path.display()),
        )
        .help("choose another context, or set DOCKER_HOST"));
    };
    if endpoint.skip_tls_verify {
        return Err(LaunchError::new(
            LaunchStep::Connect,
            format!("Docker context `{name}` skips the check of TLS certificates, which vgrid does not do"),
        )
        .help("give the context its CA (`docker context update --docker host=...,ca=...`), or set DOCKER_HOST"));
    }
    let tls = config_dir.join("contexts/tls").join(&digest).join("docker");
    let origin = format!("context {}", if meta.name.is_empty() { name } else { &meta.name });
    let transport = parse_host(&endpoint.host, &origin, tls.is_dir().then_some(tls))?;
    Ok(DockerAddress { transport, origin })
}

/// Reads one address; `certificates` turns TCP into TLS.
fn parse_host(host: &str, origin: &str, certificates: Option<PathBuf>) -> Result<Transport, LaunchError> {
    let host = host.trim();
    let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
    let refuse = |message: String, help: &str| Err(LaunchError::new(LaunchStep::Connect, message).help(help));
    match scheme {
        "unix" => Ok(Transport::Unix(if rest.is_empty() { DEFAULT_SOCKET.into() } else { rest.into() })),
        "tcp" | "http" | "https" => {
            let address = rest.trim_end_matches('/');
            if address.is_empty() || address.contains('/') {
                return refuse(
                    format!("`{host}` ({origin}) is not `tcp://host:port`"),
                    "write it as tcp://HOST:2375, or tcp://HOST:2376 with TLS",
                );
            }
            let tls = certificates.filter(|_| scheme != "http");
            let port = if tls.is_some() || scheme == "https" { 2376 } else { 2375 };
            let has_port = address.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
            let address = if has_port { address.to_owned() } else { format!("{address}:{port}") };
            match tls {
                Some(certificates) => Ok(Transport::Tls { address, certificates }),
                None if scheme == "https" => refuse(
                    format!("`{host}` ({origin}) needs certificates"),
                    "set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to the folder of ca.pem, cert.pem and key.pem",
                ),
                None => Ok(Transport::Tcp(address)),
            }
        }
        "ssh" => refuse(
            format!("`{host}` ({origin}) is reached over ssh, which vgrid does not speak"),
            "run vgrid on that host, or forward its socket: `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST` and DOCKER_HOST=unix:///tmp/docker.sock",
        ),
        "npipe" => refuse(
            format!("`{host}` ({origin}) is a Windows pipe"),
            "run vgrid inside WSL or on Linux, with DOCKER_HOST=unix:///var/run/docker.sock",
        ),
        other => refuse(
            format!("`{other}://` ({origin}) is not a way to reach Docker"),
            "use unix:///path/to/docker.sock or tcp://host:port",
        ),
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> LaunchError {
    LaunchError::new(LaunchStep::Connect, format!("cannot read {}: {error}", path.display()))
        .help("repair the file, or set DOCKER_HOST")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(env: &[(&str, &str)], home: Option<&Path>) -> Result<DockerAddress, LaunchError> {
        let lookup = |name: &str| env.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        resolve(&AddressInput { env: &lookup, home: home.map(Path::to_path_buf) })
    }

    fn with_context(home: &Path, name: &str, host: &str) -> String {
        let digest = sha256(&[name.as_bytes()]);
        let meta = home.join(".docker/contexts/meta").join(&digest);
        std::fs::create_dir_all(&meta).unwrap();
        let json = format!(
            r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
        );
        std::fs::write(meta.join("meta.json"), json).unwrap();
        digest
    }

    #[test]
    fn nothing_said_means_the_default_socket() {
        let home = tempfile::tempdir().unwrap();
        let address = resolved(&[], Some(home.path())).unwrap();
        assert_eq!(address.url(), "unix:///var/run/docker.sock");
        assert!(address.is_local());
        assert_eq!(resolved(&[("DOCKER_HOST", "  ")], None).unwrap().origin, "default");
    }

    #[test]
    fn docker_host_wins_over_the_context_and_the_context_over_config_json() {
        let home = tempfile::tempdir().unwrap();
        with_context(home.path(), "box", "tcp://10.0.0.7:2375");
        with_context(home.path(), "other", "unix:///run/other.sock");
        std::fs::write(home.path().join(".docker/config.json"), r#"{"currentContext":"box","auths":{}}"#).unwrap();
        let host = |env: &[(&str, &str)]| resolved(env, Some(home.path())).unwrap();
        assert_eq!(host(&[]).url(), "tcp://10.0.0.7:2375");
        assert_eq!(host(&[]).origin, "context box");
        assert_eq!(host(&[]).host(), "10.0.0.7");
        assert_eq!(host(&[("DOCKER_CONTEXT", "other")]).url(), "unix:///run/other.sock");
        assert_eq!(host(&[("DOCKER_CONTEXT", "default")]).origin, "default");
        let both = [("DOCKER_HOST", "unix:///run/mine.sock"), ("DOCKER_CONTEXT", "other")];
        assert_eq!(host(&both).url(), "unix:///run/mine.sock");
    }

    #[test]
    fn tls_comes_from_the_environment_or_from_the_contexts_folder() {
        let home = tempfile::tempdir().unwrap();
        let env = [("DOCKER_HOST", "tcp://gpu:2376"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/certs")];
        let tls = |address: &str, dir: PathBuf| Transport::Tls { address: address.into(), certificates: dir };
        assert_eq!(resolved(&env, None).unwrap().transport, tls("gpu:2376", "/certs".into()));
        let digest = with_context(home.path(), "secure", "tcp://far");
        let dir = home.path().join(".docker/contexts/tls").join(digest).join("docker");
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(
            resolved(&[("DOCKER_CONTEXT", "secure")], Some(home.path())).unwrap().transport,
            tls("far:2376", dir)
        );
        let err = resolved(&[("DOCKER_HOST", "tcp://gpu:2376"), ("DOCKER_TLS_VERIFY", "1")], None).unwrap_err();
        assert!(err.to_string().contains("DOCKER_CERT_PATH"), "{err}");
    }

    #[test]
    fn ssh_and_unknown_contexts_are_errors_with_a_way_out() {
        let err = resolved(&[("DOCKER_HOST", "ssh://me@gpu")], None).unwrap_err();
        assert!(err.message.contains("ssh://me@gpu") && err.help.unwrap().contains("unix:///"), "{}", err.message);
        let home = tempfile::tempdir().unwrap();
        let err = resolved(&[("DOCKER_CONTEXT", "nowhere")], Some(home.path())).unwrap_err();
        assert!(err.message.contains("nowhere") && err.help.unwrap().contains("docker context ls"));
        assert!(resolved(&[("DOCKER_HOST", "gopher://x")], None).is_err());
        assert!(resolved(&[("DOCKER_HOST", "tcp://")], None).is_err());
    }
}
