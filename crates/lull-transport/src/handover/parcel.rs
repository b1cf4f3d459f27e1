//! One message with the descriptors that belong to it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// The most descriptors in one parcel (the kernel's `SCM_MAX_FD`); more go in several parcels.
pub const MAX_FDS: usize = 253;

/// The longest message in bytes; together with the names it fits into an unprivileged send buffer.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The longest name of a descriptor in bytes.
const MAX_NAME: usize = 255;

/// Count of descriptors (2), then per descriptor one byte of length and its name, then the message.
const MAX_PACKET: usize = 2 + MAX_FDS * (1 + MAX_NAME) + MAX_MESSAGE;

/// What arrived in one piece.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The sender's text or bytes.
    pub message: Vec<u8>,
    /// Descriptors under the names that the sender gave them, in its order, close-on-exec.
    pub fds: Vec<(String, OwnedFd)>,
}

/// A parcel that cannot be sent or was not received whole.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// The other end is gone; nothing more will come.
    #[error("the other process has closed the handover socket")]
    Closed,
    /// More descriptors, longer names or a longer message than one parcel takes.
    #[error("{0} is more than one handover message takes: split it")]
    TooLarge(&'static str),
    /// What arrived does not follow the form, or lost its descriptors on the way.
    #[error("the other process sent a handover message that cannot be read: {0}")]
    Malformed(&'static str),
    /// What the kernel said; `WouldBlock` on a non-blocking socket.
    #[error("handover socket: {0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for ParcelError {
    fn from(errno: rustix::io::Errno) -> Self {
        ParcelError::Io(errno.into())
    }
}

/// Sends `message` together with `fds` in one piece. The descriptors stay open here.
pub fn send_fds(
    sock: impl AsFd,
    fds: &[(String, BorrowedFd<'_>)],
    message: &[u8],
) -> Result<(), ParcelError> {
    let packet = encode(fds, message)?;
    let open: Vec<BorrowedFd<'_>> = fds.iter().map(|(_, fd)| *fd).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !open.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&open)) {
        return Err(ParcelError::TooLarge("the number of descriptors"));
    }
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&sock, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL)
    });
    match sent {
        Ok(n) if n == packet.len() => Ok(()),
        Ok(_) => Err(ParcelError::Io(io::ErrorKind::WriteZero.into())),
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(ParcelError::Closed),
        Err(error) => Err(error.into()),
    }
}

/// Receives one parcel.
pub fn recv_fds(sock: impl AsFd) -> Result<Parcel, ParcelError> {
    let mut packet = vec![0; MAX_PACKET];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            &sock,
            &mut [IoSliceMut::new(&mut packet)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let received = match received {
        Ok(received) => received,
        Err(rustix::io::Errno::CONNRESET) => return Err(ParcelError::Closed),
        Err(error) => return Err(error.into()),
    };
    // Taken out before anything is judged, so that a refused parcel closes what came with it.
    let mut open = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            open.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Err(ParcelError::Closed);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(ParcelError::Malformed("too long"));
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(ParcelError::Malformed(
            "descriptors were lost, perhaps the limit of open files is too low",
        ));
    }
    let (names, message) = decode(&packet[..received.bytes])?;
    if names.len() != open.len() {
        return Err(ParcelError::Malformed(
            "the number of descriptors differs from that of their names",
        ));
    }
    Ok(Parcel { message: message.to_vec(), fds: names.into_iter().zip(open).collect() })
}

fn encode(fds: &[(String, BorrowedFd<'_>)], message: &[u8]) -> Result<Vec<u8>, ParcelError> {
    if fds.len() > MAX_FDS {
        return Err(ParcelError::TooLarge("the number of descriptors"));
    }
    if message.len() > MAX_MESSAGE {
        return Err(ParcelError::TooLarge("the message"));
    }
    let mut packet = (fds.len() as u16).to_le_bytes().to_vec();
    for (name, _) in fds {
        let length = u8::try_from(name.len()).map_err(|_| ParcelError::TooLarge("a name"))?;
        packet.push(length);
        packet.extend_from_slice(name.as_bytes());
    }
    packet.extend_from_slice(message);
    Ok(packet)
}

fn decode(packet: &[u8]) -> Result<(Vec<String>, &[u8]), ParcelError> {
    const SHORT: ParcelError = ParcelError::Malformed("it ends too early");
    let (count, mut rest) = packet.split_first_chunk::<2>().ok_or(SHORT)?;
    let mut names = Vec::new();
    for _ in 0..u16::from_le_bytes(*count) {
        let (length, after) = rest.split_first().ok_or(SHORT)?;
        let (name, after) = after.split_at_checked(usize::from(*length)).ok_or(SHORT)?;
        let name =
            str::from_utf8(name).map_err(|_| ParcelError::Malformed("a name is not text"))?;
        names.push(name.to_owned());
        rest = after;
    }
    Ok((names, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn arbitrary_packets_are_read_or_refused(packet: Vec<u8>) {
            if let Ok((names, message)) = decode(&packet) {
                let said = names.iter().map(|n| n.len() + 1).sum::<usize>() + message.len() + 2;
                proptest::prop_assert_eq!(said, packet.len());
            }
        }
    }
}
