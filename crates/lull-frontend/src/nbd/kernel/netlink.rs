//! Generic netlink, as much of it as one family's requests need: one message there, one answer and its status back.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// Message types and flags of every netlink.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const STATUS: u16 = 2;
/// The family by which others are found.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const NESTED: u16 = 1 << 15;
/// Lengths of the headers: netlink's, then generic netlink's.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// Attributes of a message, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds one; its length is what fits into a page.
    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn u32(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_ne_bytes())
    }

    pub(super) fn u64(self, kind: u16, value: u64) -> Self {
        self.with(kind, &value.to_ne_bytes())
    }

    /// A text, which the kernel wants with a zero behind it.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn nested(self, kind: u16, inner: &Attributes) -> Self {
        self.with(kind | NESTED, &inner.0)
    }
}

/// A generic netlink family of the running kernel.
#[derive(Debug)]
pub(super) struct Family {
    socket: OwnedFd,
    id: u16,
}

impl Family {
    /// Finds a family by its name; [`io::ErrorKind::NotFound`] where the kernel has none.
    pub(super) fn find(name: &str) -> io::Result<Family> {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::GENERIC);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        let mut family = Family { socket, id: CONTROLLER };
        let answer = family.ask(GET_FAMILY, Attributes::default().text(FAMILY_NAME, name))?;
        let id = attribute(&answer, FAMILY_ID).and_then(|value| value.first_chunk::<2>());
        family.id = u16::from_ne_bytes(*id.ok_or(io::ErrorKind::InvalidData)?);
        Ok(family)
    }

    /// Sends a command. Returns the attributes of what the kernel answers with, if it answers with anything.
    pub(super) fn ask(&self, command: u8, attributes: Attributes) -> io::Result<Vec<u8>> {
        let message = message(self.id, command, &attributes.0);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            // The kernel answers while it is asked: what does not lie there now never comes.
            let (_, length) = recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
            match read(&buffer[..length.min(8192)], &mut answer) {
                Some(Ok(())) => return Ok(answer),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
    }
}

/// What the kernel says at once: the attributes of its answer, and the status, where that is among it.
fn read(mut rest: &[u8], answer: &mut Vec<u8>) -> Option<io::Result<()>> {
    while let Some((kind, body, next)) = split(rest) {
        rest = next;
        match (kind, body.first_chunk::<4>()) {
            (STATUS, Some(code)) => {
                return Some(match i32::from_ne_bytes(*code) {
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
                });
            }
            (_, Some(_)) => *answer = body[GENERIC..].to_vec(),
            (_, None) => {}
        }
    }
    None
}

/// Anything that a kernel may say, for whoever tries it all.
pub(crate) fn try_reading(bytes: &[u8]) {
    let mut answer = Vec::new();
    let _ = read(bytes, &mut answer);
    assert!(answer.len() <= bytes.len(), "[SEC-4]");
    for kind in 0..=4 {
        let Some(value) = attribute(&answer, kind) else { continue };
        let again = Attributes::default().with(kind, value);
        assert_eq!(attribute(&again.0, kind), Some(value));
    }
}

fn message(family: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADER + GENERIC + attributes.len()) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((REQUEST | ACKNOWLEDGE).to_ne_bytes());
    // Sequence number and port: one question at a time, and the kernel knows who asks.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    message
}

/// The first message: its type, what is behind its header, and what is behind it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
}

/// The value of an attribute.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        if kind & !NESTED == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_where_they_were_put() {
        let inner = Attributes::default().u32(1, 7);
        let all = Attributes::default().text(1, "ab").u64(2, 9).nested(3, &inner);
        assert_eq!(all.0.len(), 8 + 12 + 12);
        assert_eq!(attribute(&all.0, 1), Some(&b"ab\0"[..]));
        assert_eq!(attribute(&all.0, 2), Some(&9u64.to_ne_bytes()[..]));
        assert_eq!(attribute(&all.0, 3), Some(&inner.0[..]));
        assert_eq!(attribute(&all.0, 4), None);
        assert_eq!(attribute(&[255, 0, 1, 0], 1), None, "longer than it is");
        assert_eq!(attribute(&[0; 8], 1), None, "shorter than its own header");
    }

    #[test]
    fn the_kernels_controller_names_its_own_family_and_none_that_is_not_there() {
        let family = Family::find("nlctrl").unwrap();
        assert_eq!(family.id, CONTROLLER);
        let missing = Family::find("no_such_family").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
