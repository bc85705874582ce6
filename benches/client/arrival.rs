//! When bytes arrived at a socket, as the kernel says (`SO_TIMESTAMPNS`, socket(7)): before the program had time to read them.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Asks the kernel to note the time of what arrives at the connections of this listener.
pub fn note(listener: &TcpListener) -> io::Result<()> {
    Ok(setsockopt(listener, sockopt::ReceiveTimestampns, &true)?)
}

/// Reads what is there, at least one byte; when the last of it arrived, us since 1970.
pub async fn read(socket: &TcpStream, into: &mut Vec<u8>) -> io::Result<f64> {
    let (bytes, arrived_us) = socket.async_io(Interest::READABLE, || receive(socket)).await?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    into.extend(bytes);
    arrived_us.ok_or_else(|| io::Error::other("the kernel noted no time of arrival"))
}

fn receive(socket: &TcpStream) -> io::Result<(Vec<u8>, Option<f64>)> {
    let mut bytes = vec![0_u8; READ_BYTES];
    let mut control = cmsg_space!(TimeSpec);
    let (length, arrived_us) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let arrived_us = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(at.tv_sec() as f64 * 1e6 + at.tv_nsec() as f64 / 1e3),
            _ => None,
        });
        (message.bytes, arrived_us)
    };
    bytes.truncate(length);
    Ok((bytes, arrived_us))
}
