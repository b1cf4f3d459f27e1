//! Requests, from the stream to the device.

use std::io;
use std::rc::Rc;

use lull_transport::{Inlet, ReadHalf};

use super::connection::Shared;
use super::reply::{Answer, Duty};
use super::{Agreed, Limits, ServeEnd};
use crate::device::{self, Device, Op, Reply};
use crate::nbd::constants::cmd;
use crate::nbd::extents::Question;
use crate::nbd::reply::To;
use crate::nbd::request::{Request, Verdict};
use crate::nbd::{Extent, MAX_EXTENTS};

/// Reads requests and submits them until the client leaves or its stream ends.
pub(super) async fn receive<D: Device>(
    mut inlet: Inlet,
    mut r: ReadHalf,
    agreed: &mut Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
    limits: &Limits,
) -> Result<(), ServeEnd> {
    let dialect = agreed.terms.dialect;
    loop {
        let Some(request) = Request::decode(inlet.bytes(), dialect).map_err(ServeEnd::Garbage)?
        else {
            let partial = !inlet.bytes().is_empty();
            match inlet.fill(&mut r).await? {
                0 if partial => return Err(ServeEnd::Lost(io::ErrorKind::UnexpectedEof.into())),
                0 => return Ok(()),
                _ => continue,
            }
        };
        inlet.consume(dialect.header());
        if request.is_flood(dialect) {
            return Err(ServeEnd::Flood(request.payload(dialect)));
        }
        if request.ends_beyond(agreed.geometry.size) {
            // Whoever was told of its growth in some other way may use it at once.
            let now = agreed.device.geometry().bounded().size;
            agreed.geometry.size = agreed.geometry.size.max(now);
        }
        match request.judge(&agreed.geometry, agreed.terms) {
            Verdict::Disconnect => return Ok(()),
            Verdict::Do(op) => {
                let carried = carried(op, &request);
                shared.room(carried as usize, limits).await;
                take(op, request, carried, &mut inlet, &mut r, agreed, shared).await?;
            }
            Verdict::Nothing => {
                shared.room(0, limits).await;
                reply(&request, 0, agreed, shared).done(Ok(None));
            }
            Verdict::Refuse(errno) => {
                shared.room(0, limits).await;
                skip(request.payload(dialect), &mut inlet, &mut r).await?;
                reply(&request, 0, agreed, shared).fail(errno);
            }
        }
    }
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

async fn take<D: Device>(
    op: Op,
    request: Request,
    carried: u32,
    inlet: &mut Inlet,
    r: &mut ReadHalf,
    agreed: &Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
) -> Result<(), ServeEnd> {
    let device = &agreed.device;
    let mut buffer = match carried {
        0 => None,
        length => Some(device.some_buffer(length).await),
    };
    if let (Op::Write { .. }, Some(buffer)) = (op, &mut buffer) {
        inlet.read_exact_into(r, buffer.as_mut()).await?;
    }
    // The duty begins with the last byte of the request: what is cut off before was never asked.
    let reply = reply(&request, carried as usize, agreed, shared);
    device.submit(op, request.offset, request.length, buffer, reply);
    Ok(())
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

/// Receives the payload of a refused request into nowhere.
async fn skip(length: u64, inlet: &mut Inlet, r: &mut ReadHalf) -> Result<(), ServeEnd> {
    let mut left = length;
    while left > 0 {
        if inlet.bytes().is_empty() && inlet.fill(r).await? == 0 {
            return Err(ServeEnd::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let n = inlet.bytes().len().min(usize::try_from(left).unwrap_or(usize::MAX));
        inlet.consume(n);
        left -= n as u64;
    }
    Ok(())
}
