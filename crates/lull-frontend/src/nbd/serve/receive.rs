//! Requests, from the stream to the device.

use std::io;
use std::rc::Rc;

use lull_transport::{Inlet, ReadHalf};

use super::connection::Shared;
use super::reply::{Answer, Reply};
use super::{Agreed, Limits, ServeEnd};
use crate::nbd::request::{HEADER, Request, Verdict};
use crate::nbd::{Device, Op};

/// Reads requests and submits them until the client leaves or its stream ends.
pub(super) async fn receive<D: Device>(
    mut inlet: Inlet,
    mut r: ReadHalf,
    agreed: &Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
    limits: &Limits,
) -> Result<(), ServeEnd> {
    loop {
        let Some(header) = inlet.bytes().first_chunk::<HEADER>() else {
            let partial = !inlet.bytes().is_empty();
            match inlet.fill(&mut r).await? {
                0 if partial => return Err(ServeEnd::Lost(io::ErrorKind::UnexpectedEof.into())),
                0 => return Ok(()),
                _ => continue,
            }
        };
        let Some(request) = Request::decode(header) else {
            let [a, b, c, d, ..] = *header;
            return Err(ServeEnd::Garbage(u32::from_be_bytes([a, b, c, d])));
        };
        inlet.consume(HEADER);
        match request.judge(&agreed.geometry, agreed.structured) {
            Verdict::Disconnect => return Ok(()),
            Verdict::Do(op) => {
                let carried = match op {
                    Op::Read | Op::Write { .. } => request.length,
                    Op::Flush | Op::Discard | Op::WriteZeroes { .. } => 0,
                };
                shared.room(carried as usize, limits).await;
                take(op, request, carried, &mut inlet, &mut r, agreed, shared).await?;
            }
            Verdict::Nothing => {
                shared.room(0, limits).await;
                reply(&request, 0, agreed.structured, shared).done(Ok(None));
            }
            Verdict::Refuse(errno) => {
                shared.room(0, limits).await;
                skip(request.payload(), &mut inlet, &mut r).await?;
                reply(&request, 0, agreed.structured, shared).fail(errno);
            }
        }
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
        length => Some(loop {
            match device.buffer(length) {
                Some(buffer) => break buffer,
                None => device.buffer_freed().await,
            }
        }),
    };
    if let (Op::Write { .. }, Some(buffer)) = (op, &mut buffer) {
        inlet.read_exact_into(r, buffer.as_mut()).await?;
    }
    // The duty begins with the last byte of the request: what is cut off before was never asked.
    let reply = reply(&request, carried as usize, agreed.structured, shared);
    device.submit(op, request.offset, request.length, buffer, reply);
    Ok(())
}

fn reply<B: AsRef<[u8]>>(
    request: &Request,
    held: usize,
    structured: bool,
    shared: &Rc<Shared<B>>,
) -> Reply<B> {
    let (offset, length) = (request.offset, request.length);
    let answer = match (request.is_read(), structured) {
        (true, true) => Answer::Structured { offset, length },
        (true, false) => Answer::SimpleData { length },
        (false, _) => Answer::Plain,
    };
    Reply::new(shared, request.cookie, answer, held)
}

/// Receives the payload of a refused write into nowhere.
async fn skip(length: u32, inlet: &mut Inlet, r: &mut ReadHalf) -> Result<(), ServeEnd> {
    let mut left = length as usize;
    while left > 0 {
        if inlet.bytes().is_empty() && inlet.fill(r).await? == 0 {
            return Err(ServeEnd::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let n = inlet.bytes().len().min(left);
        inlet.consume(n);
        left -= n;
    }
    Ok(())
}
