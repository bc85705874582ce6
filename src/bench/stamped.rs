//! A TCP socket that knows two moments: when the first byte of a request was about to be written, and when what was read last had arrived.
//!
//! The kernel notes arrivals (`SO_TIMESTAMPNS`, socket(7)), however late the program comes to read. So a client that is busy with other
//! streams, or off its core, still reports the server's times and not its own queue.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The most that one read takes: where many streams have much to read, each gets a small part in turn.
const READ_BYTES: usize = 8 << 10;

thread_local! {
    /// What the kernel copies to. One for all sockets of a thread: it stays in the core's cache, where one of each would not.
    static BUFFER: RefCell<Box<[u8; READ_BYTES]>> = RefCell::new(Box::new([0; READ_BYTES]));
}

/// Room for one control message with a `timespec`.
const CONTROL_BYTES: usize = 64;

/// The wall clock and the monotonic one keep their distance, but for an interruption between two looks; by more, somebody has set it.
const SAME_DISTANCE: Duration = Duration::from_millis(1);

/// Keeps the kernel noting arrivals: it takes a moment to begin, and ends with the last socket that wants to know.
pub(super) struct Noting {
    _asks: UdpSocket,
}

impl Noting {
    /// # Errors
    /// If the kernel does not know that option.
    pub(super) fn begin() -> io::Result<Self> {
        let asks = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        setsockopt(&asks, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { _asks: asks })
    }
}

/// The two moments of a connection, shared with who asks for them.
#[derive(Debug, Default)]
pub(super) struct Stamps(Mutex<Moments>);

#[derive(Debug, Default)]
struct Moments {
    first_write: Option<Instant>,
    arrived: Option<Instant>,
}

impl Stamps {
    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the first write: the next one is another request's.
    pub(super) fn begin(&self) {
        self.moments().first_write = None;
    }

    /// When the first byte since [`Stamps::begin`] was about to be written.
    pub(super) fn first_write(&self) -> Option<Instant> {
        self.moments().first_write
    }

    /// When the last byte of what was read last had arrived; never before what was read before it. Where the kernel has not noted that,
    /// when it was read.
    pub(super) fn arrived(&self) -> Option<Instant> {
        self.moments().arrived
    }

    fn note_write(&self) {
        self.moments().first_write.get_or_insert_with(Instant::now);
    }

    /// An answer cannot have arrived before its request was written: then the two clocks have nothing to do with each other, and `now`
    /// counts.
    fn note_read(&self, arrived: Instant, now: Instant) {
        let mut moments = self.moments();
        let arrived = if moments.first_write.is_some_and(|written| arrived < written) { now } else { arrived };
        moments.arrived = moments.arrived.max(Some(arrived));
    }
}

/// The socket.
pub(super) struct Stamped {
    socket: TcpStream,
    stamps: Arc<Stamps>,
    clocks: Clocks,
    /// The last read took all that one may take, so there is likely to be more.
    is_behind: bool,
}

impl Stamped {
    /// Asks the kernel to note arrivals at this socket.
    ///
    /// # Errors
    /// If the kernel does not know that option.
    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { socket, stamps: Arc::default(), clocks: Clocks::now(), is_behind: false })
    }

    pub(super) fn stamps(&self) -> Arc<Stamps> {
        Arc::clone(&self.stamps)
    }

    /// Reads what is there, up to `most` bytes; how much that was, and when its last byte arrived, by the wall clock.
    fn receive(&self, buf: &mut ReadBuf<'_>, most: usize) -> io::Result<(usize, Option<SystemTime>)> {
        let mut received = None;
        let outcome = self.socket.try_io(Interest::READABLE, || {
            let (length, arrived) = BUFFER.with_borrow_mut(|buffer| {
                let (length, arrived) = receive(&self.socket, &mut buffer[..most])?;
                buf.put_slice(&buffer[..length]);
                io::Result::Ok((length, arrived))
            })?;
            received = Some((length, arrived));
            // A read that left room has emptied the socket: said so, the next one waits without asking the kernel first.
            if 0 < length && length < most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match received {
            Some(received) => Ok(received),
            None => Err(outcome.err().unwrap_or_else(|| io::ErrorKind::WouldBlock.into())),
        }
    }
}

fn receive(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Option<SystemTime>)> {
    #[repr(align(8))] // as the kernel's header of a control message
    struct Control([u8; CONTROL_BYTES]);
    let mut control = Control([0; CONTROL_BYTES]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control.0), MsgFlags::empty())?;
    let arrived = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(at) => Some(SystemTime::UNIX_EPOCH + Duration::from(at)),
        _ => None,
    });
    Ok((message.bytes, arrived))
}

impl AsyncRead for Stamped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.is_behind) {
            // Other tasks and what has just arrived come first: a stream that floods would keep their first tokens waiting.
            ready!(pin!(tokio::task::yield_now()).poll(cx));
        }
        let most = buf.remaining().min(READ_BYTES);
        loop {
            ready!(this.socket.poll_read_ready(cx))?;
            match this.receive(buf, most) {
                Ok((length, arrived)) => {
                    let arrived = this.clocks.monotonic(arrived);
                    this.stamps.note_read(arrived, this.clocks.monotonic);
                    this.is_behind = length == most;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stamps.note_write();
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stamps.note_write();
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// The kernel notes arrivals by the wall clock; every stamp of ours is monotonic. This is what both said at the last look.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clocks {
    /// The wall clock first: an interruption between the two makes what is derived from them later, never earlier.
    fn now() -> Self {
        let wall = SystemTime::now();
        Self { monotonic: Instant::now(), wall }
    }

    /// The moment of the wall clock `arrived`, which is no later than now, by the monotonic clock; now where it is not known, and where
    /// the wall clock was set since the last look.
    fn monotonic(&mut self, arrived: Option<SystemTime>) -> Instant {
        let last = std::mem::replace(self, Self::now());
        self.derive(&last, arrived)
    }

    fn derive(&self, last: &Self, arrived: Option<SystemTime>) -> Instant {
        let passed = self.monotonic.saturating_duration_since(last.monotonic);
        let was_set = match self.wall.duration_since(last.wall) {
            Ok(by_wall) => by_wall.abs_diff(passed) > SAME_DISTANCE,
            Err(_) => true,
        };
        let ago = arrived.filter(|_| !was_set).and_then(|at| self.wall.duration_since(at).ok()).unwrap_or_default();
        self.monotonic.checked_sub(ago).unwrap_or(self.monotonic)
    }
}

/// What carries the bytes of a connection.
pub(super) enum Socket {
    Plain(Stamped),
    Tls(Box<TlsStream<Stamped>>),
}

impl Socket {
    pub(super) fn stamps(&self) -> Arc<Stamps> {
        match self {
            Self::Plain(socket) => socket.stamps(),
            Self::Tls(socket) => socket.get_ref().0.stamps(),
        }
    }
}

/// Calls a method of whichever socket there is.
macro_rules! forward {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).$method($($argument),*),
            Self::Tls(socket) => Pin::new(&mut **socket).$method($($argument),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A socket of ours and the other end of it.
    async fn pair() -> (Stamped, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Stamped::new(ours).unwrap(), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_read_late_is_stamped_when_it_arrived() {
        const LATE: Duration = Duration::from_millis(300);
        let _noting = Noting::begin().unwrap();
        // the kernel begins to note when it comes to it
        let noted = async {
            loop {
                let (mut ours, mut other) = pair().await;
                let before = Instant::now();
                other.write_all(b"x").await.unwrap();
                let written = Instant::now();
                tokio::time::sleep(LATE).await;
                ours.read_u8().await.unwrap();
                let arrived = ours.stamps().arrived().unwrap();
                assert!(arrived >= before, "before it was written");
                if arrived <= written + LATE / 2 {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), noted).await.unwrap();
    }

    #[tokio::test]
    async fn a_flood_is_read_in_parts_between_which_others_have_their_turn() {
        const PARTS: usize = 16;
        let (mut ours, mut other) = pair().await;
        other.write_all(&vec![b'x'; PARTS * READ_BYTES]).await.unwrap();
        let turns = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&turns);
        let others = tokio::spawn(async move {
            loop {
                *counted.lock().unwrap() += 1;
                tokio::task::yield_now().await;
            }
        });
        let mut buffer = vec![0; 4 * READ_BYTES];
        for part in 0..PARTS {
            assert_eq!(ours.read(&mut buffer).await.unwrap(), READ_BYTES);
            assert!(*turns.lock().unwrap() >= part, "part {part}");
        }
        others.abort();
    }

    #[tokio::test]
    async fn the_first_write_of_each_request_is_stamped_before_it_arrives() {
        let (mut ours, mut other) = pair().await;
        let stamps = ours.stamps();
        assert_eq!(stamps.first_write(), None);
        for _ in 0..2 {
            stamps.begin();
            let before = Instant::now();
            ours.write_all(b"ab").await.unwrap();
            ours.write_all(b"cd").await.unwrap();
            let first = stamps.first_write().unwrap();
            other.read_exact(&mut [0; 4]).await.unwrap();
            assert!(before <= first && first <= Instant::now());
        }
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_an_end() {
        let (mut ours, mut other) = pair().await;
        other.write_all(b"last").await.unwrap();
        drop(other);
        let mut all = Vec::new();
        ours.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last");
    }

    #[test]
    fn what_would_have_arrived_before_it_was_asked_for_arrives_now() {
        let stamps = Stamps::default();
        stamps.note_write();
        let written = stamps.first_write().unwrap();
        let now = written + Duration::from_millis(9);
        stamps.note_read(written - Duration::from_millis(1), now);
        assert_eq!(stamps.arrived(), Some(now));
        stamps.note_read(written, now);
        assert_eq!(stamps.arrived(), Some(now), "never before what was read before it");
    }

    #[test]
    fn a_wall_clock_that_is_set_between_two_looks_moves_no_stamp() {
        const MS: Duration = Duration::from_millis(1);
        let last = Clocks::now();
        // ten ms later, by clocks that agree: what arrived four ms ago arrived then, and what nobody noted arrives now
        let look = Clocks { monotonic: last.monotonic + 10 * MS, wall: last.wall + 10 * MS };
        assert_eq!(look.derive(&last, Some(last.wall + 6 * MS)), last.monotonic + 6 * MS);
        assert_eq!(look.derive(&last, None), look.monotonic);
        let hour = Duration::from_secs(3_600);
        for wall in [look.wall + hour, look.wall - hour] {
            let set = Clocks { wall, ..look };
            assert_eq!(set.derive(&last, Some(last.wall + 6 * MS)), look.monotonic);
        }
    }
}
