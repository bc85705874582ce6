//! `vgrid sim --help` and `vgrid sim --health-check`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::FaultKind;

/// The help text.
pub(super) fn text() -> String {
    let faults: Vec<&str> = FaultKind::ALL.iter().map(|(_, name, _)| *name).collect();
    format!(
        "\
The simulated engine: an OpenAI-compatible server that behaves like vLLM {version}.

Usage: vgrid sim [MODEL] [vLLM's own `serve` flags] [--sim-...]
       vgrid sim --health-check [[HOST:]PORT]    exit code 0 when a server answers /health with 200

Flags of the simulation (docs/sim.md has the formulas):
  --sim-gpu-memory-gib N          memory of each virtual GPU [24]
  --sim-gpu-used-gib N            of which others hold [0.35]
  --sim-gpus N                    number of virtual GPUs [2]
  --sim-model-weights-gib N       weights of the virtual model [15]
  --sim-kv-kib-per-token N        KV cache of one token in 16 bits [128]
  --sim-derived-max-model-len N   longest context of the model [40960]
  --sim-bandwidth-gib-s N         memory bandwidth of a GPU [900]
  --sim-prefill-tokens-per-s N    compute of a GPU [10000]
  --sim-step-overhead-ms N        host overhead of each step [0.8]
  --sim-first-request-ms N        extra time of the first prefill after boot [400]
  --sim-noise N                   relative standard deviation of a step's time [0.02]
  --sim-start-noise N             relative standard deviation of a start's speed [0]
  --sim-seed N                    seed of noise and answers [--seed, 0]
  --sim-speed N                   everything N times as fast [1]
  --sim-boot-seconds N            time from start to serving [1]
  --sim-quality N                 share of the shipped cases (docs/data.md) that are answered rightly, 0 to 1 [1]
  --sim-truth-requests N          how many requests /sim/truth keeps [4096]
  --sim-fail KIND[:N]             {faults}
  --sim-fail-while FILE           echo_secrets only while FILE is there",
        version = super::boot::VERSION,
        faults = faults.join(", "),
    )
}

/// Asks a server on this machine for its health; 0 when it is well, 1 when it is not.
pub(super) async fn health_check(target: Option<&str>) -> i32 {
    let target = match target {
        None => "127.0.0.1:8000".to_owned(),
        Some(port) if !port.contains(':') => format!("127.0.0.1:{port}"),
        Some(address) => address.to_owned(),
    };
    match tokio::time::timeout(Duration::from_secs(2), ask(&target)).await {
        Ok(Ok(status)) if status == "200" => 0,
        Ok(Ok(status)) => {
            eprintln!("unhealthy: {target} answers /health with status {status}");
            1
        }
        Ok(Err(error)) => {
            eprintln!("unhealthy: {target}: {error}");
            1
        }
        Err(_) => {
            eprintln!("unhealthy: {target} does not answer /health within 2 s");
            1
        }
    }
}

/// The status of `GET /health`. By hand: the HTTP client has its home elsewhere, and this is one line.
async fn ask(target: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split_whitespace().nth(1).unwrap_or("none").to_owned())
}
