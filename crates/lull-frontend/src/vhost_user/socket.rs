//! Messages with descriptors over the monitor's socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lull_transport::Stream;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::wire::{HEADER, Header, MOST_PAYLOAD, MOST_REGIONS};
use super::{ServeEnd, wire::Ask};

/// One end of a connection.
#[derive(Debug)]
pub struct Socket {
    stream: UnixStream,
    payload: Vec<u8>,
}

/// The beginning of a message.
#[derive(Debug)]
pub struct Begun {
    head: [u8; HEADER],
    length: usize,
    fds: Vec<OwnedFd>,
}

/// A message with what came along.
#[derive(Debug)]
pub struct Message {
    /// Its head.
    pub header: Header,
    /// What it asks.
    pub ask: Ask,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

impl Socket {
    /// Over a unix socket; others carry no descriptors.
    pub fn new(stream: Stream) -> Option<Socket> {
        match stream {
            Stream::Unix(stream) => Some(Socket { stream, payload: vec![0; MOST_PAYLOAD] }),
            Stream::Tcp(_) | Stream::Vsock(_) => None,
        }
    }

    /// The first bytes of the next message. It may be given up at any time.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn begun(&self) -> Result<Begun, ServeEnd> {
        let mut begun = Begun { head: [0; HEADER], length: 0, fds: Vec::new() };
        begun.length = self.some(&mut begun.head, &mut begun.fds).await?;
        Ok(begun)
    }

    /// All of the message that has begun.
    ///
    /// # Errors
    /// The connection has ended, or what came is no message.
    pub async fn rest(&mut self, begun: Begun) -> Result<Message, ServeEnd> {
        let Begun { mut head, length, mut fds } = begun;
        self.fill(&mut head[length..], &mut fds).await?;
        let header = Header::decode(&head)?;
        let mut payload = std::mem::take(&mut self.payload);
        let filled = self.fill(&mut payload[..header.size], &mut fds).await;
        self.payload = payload;
        filled?;
        let ask = Ask::decode(header.request, &self.payload[..header.size])?;
        Ok(Message { header, ask, fds })
    }

    async fn fill(&self, mut rest: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<(), ServeEnd> {
        while !rest.is_empty() {
            let count = self.some(rest, fds).await?;
            rest = &mut rest[count..];
        }
        Ok(())
    }

    /// As much as there is, at least one byte.
    async fn some(&self, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, ServeEnd> {
        loop {
            self.stream.readable().await?;
            let act = || receive(&self.stream, into, fds);
            match self.stream.try_io(Interest::READABLE, act) {
                Ok(0) => return Err(ServeEnd::Closed),
                Ok(_) if fds.len() > MOST_REGIONS => {
                    return Err(ServeEnd::Refused("more descriptors than any message has"));
                }
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends an answer.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send(&self, bytes: &[u8], fd: Option<&OwnedFd>) -> Result<(), ServeEnd> {
        let (mut rest, mut fd) = (bytes, fd.map(AsFd::as_fd));
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_io(Interest::WRITABLE, || transmit(&self.stream, rest, fd)) {
                Ok(count) => {
                    rest = &rest[count..];
                    fd = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn receive(socket: impl AsFd, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_REGIONS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(into)];
    let received = recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            fds.extend(came);
        }
    }
    Ok(received.bytes)
}

fn transmit(socket: impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.into_iter().collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}
