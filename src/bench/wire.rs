//! One HTTP/1.1 exchange on the wire: a connection that is driven by the very task that asks, so that no other task stands
//! between the socket and the clock.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::endpoint::Endpoint;
use super::stamped::{Socket, Stamps};

/// Idle connections are dropped before uvicorn does it (its default is 5 s): a request must never meet a closing connection.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// Until a connection must be there, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an exchange has no answer, or no more of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke, or what came over it is not HTTP.
    #[error("request failed: {0}")]
    Broken(String),
}

/// The connections to one server: those that are not in use, and how to make another.
pub(super) struct Connections {
    endpoint: Endpoint,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// One connection, with at most one exchange at a time.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    stamps: Arc<Stamps>,
}

/// hyper's half of a connection, which moves only when it is polled.
struct Driver {
    io: http1::Connection<TokioIo<Socket>, Full<Bytes>>,
    has_ended: bool,
}

impl Driver {
    /// Reads and writes what there is. Errors reach the exchange by its answer or its body.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = Pin::new(&mut self.io).poll(cx).is_ready();
        }
    }
}

impl Connections {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::new(Vec::new()) }
    }

    /// A connection that is free and open, or a new one.
    ///
    /// # Errors
    /// Why none can be made.
    pub(super) async fn take(&self) -> Result<Connection, WireError> {
        while let Some((mut connection, since)) = self.pop() {
            if since.elapsed() < MAX_IDLE && connection.is_free() {
                return Ok(connection);
            }
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, open(&self.endpoint)).await {
            Ok(result) => result,
            Err(_) => Err(WireError::Connect(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Keeps a connection whose exchange has ended, if it can be used again; else it is closed.
    pub(super) fn keep(&self, mut connection: Connection) {
        if connection.is_free()
            && let Ok(mut idle) = self.idle.lock()
        {
            idle.push((connection, Instant::now()));
        }
    }

    /// How many connections could be used again now.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        let mut idle = self.idle.lock().unwrap();
        idle.retain_mut(|(connection, _)| connection.is_free());
        idle.len()
    }

    fn pop(&self) -> Option<(Connection, Instant)> {
        self.idle.lock().ok()?.pop()
    }
}

async fn open(endpoint: &Endpoint) -> Result<Connection, WireError> {
    let socket = endpoint.connect().await.map_err(|e| WireError::Connect(e.to_string()))?;
    let stamps = socket.stamps();
    let (sender, io) = http1::handshake(TokioIo::new(socket)).await.map_err(|e| broken(&e))?;
    Ok(Connection { sender, driver: Driver { io, has_ended: false }, stamps })
}

impl Connection {
    /// Whether the last exchange is over and the server has not closed it, as far as is known now.
    fn is_free(&mut self) -> bool {
        self.driver.drive(&mut Context::from_waker(Waker::noop()));
        !self.driver.has_ended && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, WireError> {
        let Self { sender, driver, stamps } = self;
        std::future::poll_fn(|cx| {
            driver.drive(cx);
            sender.poll_ready(cx)
        })
        .await
        .map_err(|e| broken(&e))?;
        stamps.begin();
        let mut answer = std::pin::pin!(sender.send_request(request));
        std::future::poll_fn(|cx| {
            driver.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
        .map_err(|e| broken(&e))
    }

    /// When the last request's first byte was about to be written.
    pub(super) fn first_write(&self) -> Option<Instant> {
        self.stamps.first_write()
    }

    /// When the last bytes that were read had arrived.
    pub(super) fn arrived(&self) -> Option<Instant> {
        self.stamps.arrived()
    }

    /// The next bytes of an answer's body; `None` at its end.
    ///
    /// # Errors
    /// Why the body cannot be read to its end.
    pub(super) async fn chunk(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, WireError> {
        loop {
            let frame = std::future::poll_fn(|cx| {
                // The body is filled by the driver alone, and that by this task: nobody else need wake it.
                let mut unheard = Context::from_waker(Waker::noop());
                if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut unheard) {
                    return Poll::Ready(frame);
                }
                self.driver.drive(cx);
                Pin::new(&mut *body).poll_frame(&mut unheard)
            })
            .await;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    } // trailers
                }
            }
        }
    }
}

/// An error with all its causes: hyper's own text leaves them out.
fn broken(error: &hyper::Error) -> WireError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    WireError::Broken(text)
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("addresses", &self.endpoint.addresses()).finish_non_exhaustive()
    }
}
