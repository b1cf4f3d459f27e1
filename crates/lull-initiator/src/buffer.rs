//! Payload on its way: pooled memory in the shapes that the front end and a connection want.

use std::rc::Rc;

use lull_block::Buffer;

/// The memory of one request, exactly as long as the request.
#[derive(Debug)]
pub struct Bytes(pub Buffer);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Bytes {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The payload of a write. Its slot keeps it until the write is answered, since it may have to be sent again;
/// a connection keeps it until it is written. Neither copies it.
#[derive(Clone, Debug)]
pub struct Shared(Rc<Payload>);

#[derive(Debug)]
enum Payload {
    Pooled(Bytes),
    /// A replay's: the pool's memory may all be held by requests that wait for the end of the replay.
    Copied(Vec<u8>),
}

impl Shared {
    /// From now on read only.
    pub fn new(bytes: Bytes) -> Self {
        Self(Rc::new(Payload::Pooled(bytes)))
    }

    /// What was retained.
    pub fn copied(bytes: Vec<u8>) -> Self {
        Self(Rc::new(Payload::Copied(bytes)))
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        match &*self.0 {
            Payload::Pooled(bytes) => bytes.as_ref(),
            Payload::Copied(bytes) => bytes,
        }
    }
}
