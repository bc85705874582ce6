//! When bytes arrived at a socket, as the kernel says (`SO_TIMESTAMPNS`, socket(7)): before the program had time to read them.
#![allow(unsafe_code, reason = "no safe wrapper among the dependencies reads the time of arrival")]

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Asks the kernel to note the time of what arrives at the connections of this listener.
pub fn note(listener: &TcpListener) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is the integer `on`, of the size that is given.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads what is there, at least one byte; when the last of it arrived, us since 1970.
pub async fn read(socket: &TcpStream, into: &mut Vec<u8>) -> io::Result<f64> {
    let (bytes, arrived_us) = socket.async_io(Interest::READABLE, || receive(socket)).await?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    into.extend(bytes);
    Ok(arrived_us)
}

fn receive(socket: &TcpStream) -> io::Result<(Vec<u8>, f64)> {
    let mut bytes = vec![0_u8; READ_BYTES];
    let mut control = [0_u64; 16]; // aligned as cmsghdr
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all of msghdr may be zero; it then points to `part` and `control`, which live until the call has returned.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: as above.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(length);
    // SAFETY: the kernel has filled `control`; the macros walk it within the length that it has set.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: `header` is not null and points into `control`; data of SCM_TIMESTAMPNS is one timespec, not always aligned.
        unsafe {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_TIMESTAMPNS {
                let at: libc::timespec = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
                return Ok((bytes, at.tv_sec as f64 * 1e6 + at.tv_nsec as f64 / 1e3));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if length == 0 { Ok((bytes, f64::NAN)) } else { Err(io::Error::other("the kernel noted no time of arrival")) }
}
