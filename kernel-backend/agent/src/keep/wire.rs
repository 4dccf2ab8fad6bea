//! Messages between agent and holder: packets of text on a Unix socket, with at most one descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect,
    listen, recvmsg, sendmsg, socket_with,
};

/// Bytes of the longest message.
const LONGEST: usize = 256;
/// Agents, and commands, that wait for the holder.
const BACKLOG: i32 = 16;

fn socket() -> io::Result<OwnedFd> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None)?)
}

/// Connects to a holder.
///
/// # Errors
/// None is there.
pub fn to_holder(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket()?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Listens as a holder.
///
/// # Errors
/// The path cannot be bound.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket()?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Sends a message.
///
/// # Errors
/// The other side is gone.
pub fn send(to: impl AsFd, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        with.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let bytes = [IoSlice::new(text.as_bytes())];
    loop {
        match sendmsg(&to, &bytes, &mut with, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives a message; `None` at the end.
///
/// # Errors
/// The connection broke, or the message is none.
pub fn receive(from: impl AsFd) -> io::Result<Option<(String, Option<OwnedFd>)>> {
    let mut bytes = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&from, &mut slices, &mut with, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received.bytes,
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) => return Err(error.into()),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let descriptor = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    let text = bytes.get(..length).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(io::Error::other)?;
    Ok(Some((text.to_owned(), descriptor)))
}
