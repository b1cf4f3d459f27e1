//! Requests, from the stream to the device.

use std::io;
use std::rc::Rc;

use super::connection::{Reader, Shared};
use super::reply::{Answer, Duty};
use super::{Agreed, Limits, ServeEnd};
use crate::device::{self, Device, Op, Reply};
use crate::nbd::constants::cmd;
use crate::nbd::extents::Question;
use crate::nbd::reply::To;
use crate::nbd::request::{Request, Verdict};
use crate::nbd::{Dialect, Errno, Extent, MAX_EXTENTS};

/// A request whose payload has not arrived whole.
#[derive(Debug)]
pub(super) struct Partial<B> {
    request: Request,
    /// Bytes of the payload that have arrived.
    got: usize,
    then: Then<B>,
}

/// What is to be done when it has.
#[derive(Debug)]
enum Then<B> {
    /// To write it; the memory that it goes to.
    Write { op: Op, buffer: B },
    /// To refuse the request; its payload goes nowhere.
    Refuse(Errno),
}

impl<B: AsRef<[u8]>> Partial<B> {
    /// All that was received of the request. What was to go nowhere may be any bytes.
    pub(super) fn into_bytes(self, dialect: Dialect) -> Vec<u8> {
        let mut bytes = match dialect {
            Dialect::Simple | Dialect::Structured => self.request.encode().to_vec(),
            Dialect::Extended => self.request.encode_extended().to_vec(),
        };
        match &self.then {
            Then::Write { buffer, .. } => bytes.extend_from_slice(&buffer.as_ref()[..self.got]),
            Then::Refuse(_) => bytes.resize(bytes.len() + self.got, 0),
        }
        bytes
    }
}

/// Reads requests and submits them until the client leaves or its stream ends. It may be dropped at any time, and
/// begun again with the same reader.
pub(super) async fn receive<D: Device>(
    reader: &mut Reader<D::Buffer>,
    agreed: &mut Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
    limits: &Limits,
) -> Result<(), ServeEnd> {
    let dialect = agreed.terms.dialect;
    loop {
        complete(reader, agreed, shared).await?;
        let inlet = &mut reader.inlet;
        let Some(request) = Request::decode(inlet.bytes(), dialect).map_err(ServeEnd::Garbage)?
        else {
            let partial = !inlet.bytes().is_empty();
            match inlet.fill(&mut reader.r).await? {
                0 if partial => return Err(ServeEnd::Lost(io::ErrorKind::UnexpectedEof.into())),
                0 => return Ok(()),
                _ => continue,
            }
        };
        if request.is_flood(dialect) {
            return Err(ServeEnd::Flood(request.payload(dialect)));
        }
        if request.ends_beyond(agreed.geometry.size) {
            // Whoever was told of its growth in some other way may use it at once.
            let now = agreed.device.geometry().bounded().size;
            agreed.geometry.size = agreed.geometry.size.max(now);
        }
        // A request stays in the inlet until there is room for all of it: then nothing is lost where one stops here.
        match request.judge(&agreed.geometry, agreed.terms) {
            Verdict::Disconnect => return Ok(()),
            Verdict::Do(op) => {
                let carried = carried(op, &request);
                shared.room(carried as usize, limits).await;
                let buffer = match carried {
                    0 => None,
                    length => {
                        let buffer = agreed.device.some_buffer(length);
                        Some(shared.wanting.until(buffer).await)
                    }
                };
                match (op, buffer) {
                    (Op::Write { .. }, Some(buffer)) => {
                        let then = Then::Write { op, buffer };
                        reader.partial = Some(Partial { request, got: 0, then });
                        inlet.consume(dialect.header());
                    }
                    (op, buffer) => {
                        inlet.consume(dialect.header());
                        submit(op, &request, buffer, agreed, shared);
                    }
                }
            }
            Verdict::Nothing => {
                shared.room(0, limits).await;
                inlet.consume(dialect.header());
                reply(&request, 0, agreed, shared).done(Ok(None));
            }
            Verdict::Refuse(errno) => {
                shared.room(0, limits).await;
                reader.partial = Some(Partial { request, got: 0, then: Then::Refuse(errno) });
                inlet.consume(dialect.header());
            }
        }
    }
}

/// Receives what is missing of a request, and submits or refuses it.
async fn complete<D: Device>(
    reader: &mut Reader<D::Buffer>,
    agreed: &Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
) -> Result<(), ServeEnd> {
    let Reader { inlet, r, partial: place } = reader;
    let Some(partial) = place else { return Ok(()) };
    let mut payload = shared.incoming.payload(r);
    match &mut partial.then {
        Then::Write { buffer, .. } => {
            inlet.read_into(&mut payload, buffer.as_mut(), &mut partial.got).await?;
        }
        Then::Refuse(_) => {
            // More than memory has is a flood.
            let length = partial.request.payload(agreed.terms.dialect) as usize;
            while partial.got < length {
                if inlet.bytes().is_empty() && inlet.fill(&mut payload).await? == 0 {
                    return Err(ServeEnd::Lost(io::ErrorKind::UnexpectedEof.into()));
                }
                let n = inlet.bytes().len().min(length - partial.got);
                inlet.consume(n);
                partial.got += n;
            }
        }
    }
    drop(payload);
    // The duty begins with the last byte of the request: what is cut off before was never asked.
    if let Some(Partial { request, then, .. }) = place.take() {
        match then {
            Then::Write { op, buffer } => submit(op, &request, Some(buffer), agreed, shared),
            Then::Refuse(errno) => reply(&request, 0, agreed, shared).fail(errno),
        }
    }
    Ok(())
}

/// Bytes of the buffer that goes with a request that was found right.
fn carried(op: Op, request: &Request) -> u32 {
    match op {
        // At most what the geometry says, which has 32 bits.
        Op::Read | Op::Write { .. } => request.length as u32,
        Op::Extents if request.wants_one() => Extent::BYTES as u32,
        Op::Extents => (MAX_EXTENTS * Extent::BYTES) as u32,
        Op::Flush | Op::Discard | Op::WriteZeroes { .. } | Op::Cache => 0,
    }
}

fn submit<D: Device>(
    op: Op,
    request: &Request,
    buffer: Option<D::Buffer>,
    agreed: &Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
) {
    let held = buffer.as_ref().map_or(0, |buffer| agreed.device.footprint(buffer));
    let reply = reply(request, held, agreed, shared);
    agreed.device.submit(op, request.offset, request.length, buffer, reply);
}

fn reply<D: Device>(
    request: &Request,
    held: usize,
    agreed: &Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
) -> Reply<D::Buffer> {
    let dialect = agreed.terms.dialect;
    let Request { cookie, offset, length, .. } = *request;
    let answer = match request.command {
        _ if !request.is_answered_with_data() => Answer::Plain,
        cmd::BLOCK_STATUS => Answer::Extents(Question {
            length,
            room: agreed.geometry.size.saturating_sub(offset),
            block: agreed.geometry.block,
            one: request.wants_one(),
            longest: dialect.longest_extent(),
        }),
        _ => Answer::Data { length: length as u32 },
    };
    let duty = Duty::new(shared, dialect, To { cookie, offset }, answer, held);
    Reply::new(device::Duty::Nbd(duty))
}
