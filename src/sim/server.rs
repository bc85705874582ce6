//! One life of the simulated server: bind, boot, serve, and the ways in which it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::{TcpSocket, lookup_host};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::api::{Api, router};
use super::args::SimArgs;
use super::boot::{self, BootEnd, Booted};
use super::console::{Console, Process};
use super::engine::{Engine, EngineEnd};
use super::failures::{self, StartFailure};
use super::metrics::MetricsInfo;
use super::scheduler::{ChunkedPrefill, Limits, PrefixCaching};
use super::truth::Truth;

/// What a caller in the same process learns when the server is up.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests start a server inside their own process"))]
pub(super) struct Up {
    pub(super) address: SocketAddr,
    pub(super) truth: Arc<Truth>,
}

/// How a server's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LifeEnd {
    /// With this exit code.
    Exit(i32),
    /// The process is to be killed.
    Killed,
}

/// How long a dead engine's API server still answers, as measured on a real one.
const AFTER_DEATH: Duration = Duration::from_millis(300);
/// How long open connections may take to close.
const CLOSING: Duration = Duration::from_secs(1);

/// Runs one server until `cancel`, a failure or a fault ends it.
pub(super) async fn live(
    args: SimArgs,
    console: Console,
    cancel: CancellationToken,
    up: Option<oneshot::Sender<Up>>,
) -> LifeEnd {
    let failed = |failure: StartFailure| {
        failures::print(&console, &failure);
        LifeEnd::Exit(1)
    };
    if let Err(failure) = boot::banner(&args, &console) {
        return failed(failure);
    }
    // vLLM binds before it boots, so a taken port is known at once, and listens only when it can serve.
    let socket = match bind(&args).await {
        Ok(socket) => socket,
        Err(error) => return failed(StartFailure::ApiServer(bind_error(&error))),
    };
    let allow_long = std::env::var("VLLM_ALLOW_LONG_MAX_MODEL_LEN").is_ok_and(|v| v == "1");
    let booted = match boot::boot(&args, &console, &cancel, allow_long).await {
        Ok(booted) => booted,
        Err(BootEnd::Failed(failure)) => return failed(failure),
        Err(BootEnd::Cancelled) => {
            failures::orderly_shutdown(&console);
            return LifeEnd::Exit(0);
        }
    };
    let listener = match socket.listen(4_096) {
        Ok(listener) => listener,
        Err(error) => return failed(StartFailure::ApiServer(bind_error(&error))),
    };
    let Ok(address) = listener.local_addr() else {
        return failed(StartFailure::ApiServer("OSError: the socket has no address".to_owned()));
    };
    serve(args, console, cancel, booted, (listener, address), up).await
}

async fn serve(
    args: SimArgs,
    console: Console,
    cancel: CancellationToken,
    booted: Booted,
    (listener, address): (tokio::net::TcpListener, SocketAddr),
    up: Option<oneshot::Sender<Up>>,
) -> LifeEnd {
    let truth = Arc::new(Truth::new(args.sim.truth_requests));
    let (engine, handle) = Engine::new(&args, limits(&args, &booted), &booted, Arc::clone(&truth), console.clone());
    let mut engine_task = tokio::spawn(engine.run(cancel.child_token()));
    let speed = args.sim.speed;
    let created = jiff::Timestamp::now();
    let keys = api_keys(&args);
    let info = info(&args, &booted, created);
    let api = Api {
        info,
        max_model_len: booted.max_model_len,
        engine: handle,
        truth: Arc::clone(&truth),
        console: console.clone(),
        requests: AtomicU64::new(0),
        created: created.as_second(),
        keys,
        args,
    };
    let closing = CancellationToken::new();
    // Without this, Nagle's algorithm would gather tokens.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let service = router(Arc::new(api)).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(closing.clone().cancelled_owned());
    let mut server_task = tokio::spawn(async move { server.await });
    console.err(&format!("INFO:     Started server process [{}]", console.pid(Process::ApiServer)));
    console.err("INFO:     Waiting for application startup.");
    console.err("INFO:     Application startup complete.");
    if let Some(up) = up {
        // The caller may have given up waiting; then it cancels.
        let _ = up.send(Up { address, truth });
    }
    let end = tokio::select! {
        () = cancel.cancelled() => None,
        end = &mut engine_task => Some(end.unwrap_or(EngineEnd::Died)),
    };
    match end {
        // Either may be seen first: the engine's token is a child of `cancel`.
        None | Some(EngineEnd::Stopped) => {
            failures::orderly_shutdown(&console);
            if end.is_none() {
                let _ = engine_task.await;
            }
        }
        Some(EngineEnd::Killed) => {
            server_task.abort();
            return LifeEnd::Killed;
        }
        Some(EngineEnd::Died) => {
            failures::engine_dead(&console);
            tokio::time::sleep(AFTER_DEATH.div_f64(speed.max(1.0))).await;
        }
    }
    closing.cancel();
    if tokio::time::timeout(CLOSING, &mut server_task).await.is_err() {
        server_task.abort();
    }
    failures::http_server_gone(&console);
    LifeEnd::Exit(0)
}

fn limits(args: &SimArgs, booted: &Booted) -> Limits {
    Limits {
        max_num_seqs: args.max_num_seqs,
        max_num_batched_tokens: args.max_num_batched_tokens,
        block_size: args.block_size,
        blocks: booted.memory.blocks,
        chunked_prefill: if args.chunked_prefill { ChunkedPrefill::On } else { ChunkedPrefill::Off },
        prefix_caching: if args.prefix_caching { PrefixCaching::On } else { PrefixCaching::Off },
    }
}

/// `--api-key`, else `VLLM_API_KEY`.
fn api_keys(args: &SimArgs) -> Vec<String> {
    if !args.api_keys.is_empty() {
        return args.api_keys.clone();
    }
    std::env::var("VLLM_API_KEY").ok().filter(|key| !key.is_empty()).into_iter().collect()
}

/// The labels of `vllm:cache_config_info`, as vLLM 0.32 has them.
fn info(args: &SimArgs, booted: &Booted, created: jiff::Timestamp) -> MetricsInfo {
    let python = |on: bool| if on { "True" } else { "False" }.to_owned();
    let tokens = booted.memory.kv_tokens();
    let memory_bytes = args.kv_cache_memory_bytes.map_or("None".to_owned(), |bytes| bytes.to_string());
    MetricsInfo {
        model_name: args.served_names.first().cloned().unwrap_or_default(),
        cache_config: vec![
            ("_block_size_resolved", python(true)),
            ("block_size", args.block_size.to_string()),
            ("cache_dtype", args.kv_cache_dtype_name.clone()),
            ("enable_prefix_caching", python(args.prefix_caching)),
            ("gpu_memory_utilization", super::flags::python_float(args.gpu_memory_utilization)),
            ("is_attention_free", python(false)),
            ("kv_cache_max_concurrency", format!("{:?}", tokens as f64 / booted.max_model_len as f64)),
            ("kv_cache_memory_bytes", memory_bytes),
            ("kv_cache_size_tokens", tokens.to_string()),
            ("num_cpu_blocks", "None".to_owned()),
            ("num_gpu_blocks", booted.memory.blocks.to_string()),
            ("num_gpu_blocks_override", "None".to_owned()),
            ("prefix_caching_hash_algo", "sha256".to_owned()),
            ("sliding_window", "None".to_owned()),
            ("user_specified_block_size", python(args.parsed.get("block-size").is_some())),
        ],
        started_unix_s: created.as_millisecond() as f64 / 1e3,
    }
}

async fn bind(args: &SimArgs) -> std::io::Result<TcpSocket> {
    let address = lookup_host((args.host.as_str(), args.port))
        .await?
        .next()
        .ok_or_else(|| std::io::Error::other("the host has no address"))?;
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Python's words for a failed bind.
fn bind_error(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return "OSError: [Errno 98] Address already in use".to_owned();
    }
    match error.raw_os_error() {
        Some(number) => format!("OSError: [Errno {number}] {error}"),
        None => format!("OSError: {error}"),
    }
}
