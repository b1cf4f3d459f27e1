//! The handshake on a stream.

use std::rc::Rc;

use lull_transport::{Inlet, ReadHalf, WriteHalf};
use tokio::io::AsyncWriteExt;

use super::{Agreed, ServeEnd};
use crate::nbd::handshake::server::{How, Question, Server, Step, greeting};
use crate::nbd::{Device, Exports, Geometry, OpenRefused};

/// Up to transmission; `None` where the client left before.
pub(super) async fn negotiate<E: Exports>(
    inlet: &mut Inlet,
    r: &mut ReadHalf,
    w: &mut WriteHalf,
    exports: &E,
) -> Result<Option<Agreed<E::Device>>, ServeEnd> {
    let mut server = Server::new();
    let mut out = Vec::new();
    w.write_all(&greeting()).await?;
    loop {
        let (used, step) = server.receive(inlet.bytes(), &mut out)?;
        inlet.consume(used);
        let mut opened = None;
        match step {
            Step::More => {
                if inlet.fill(r).await? == 0 {
                    return Ok(None);
                }
            }
            Step::Went => {}
            Step::List => server.listed(&exports.list(), &mut out),
            Step::Open(question) => {
                let found = open(&mut server, &question, exports, &mut out).await?;
                opened = found.map(|(device, geometry)| {
                    let terms = server.terms(&question.name);
                    Agreed { device, geometry, terms }
                });
            }
            Step::Contexts(question) => {
                let export = exports.describe(&question.name).await;
                server.answer_contexts(question, export.as_ref().map_err(Clone::clone), &mut out);
            }
            Step::Leave => {
                // A client that takes its leave need not wait for the acknowledgement.
                let _ = w.write_all(&out).await;
                return Ok(None);
            }
        }
        // Each answer leaves before the next option is looked at, so that a client that asks and
        // does not listen piles up nothing.
        if !out.is_empty() {
            w.write_all(&out).await?;
            out.clear();
        }
        if opened.is_some() {
            return Ok(opened);
        }
    }
}

type Opened<D> = Option<(Rc<D>, Geometry)>;

async fn open<E: Exports>(
    server: &mut Server,
    question: &Question,
    exports: &E,
    out: &mut Vec<u8>,
) -> Result<Opened<E::Device>, ServeEnd> {
    let refuse = |server: &mut Server, refused: OpenRefused, out: &mut Vec<u8>| {
        server.answer(question, Err(refused), out).map(|()| None)
    };
    if question.how == How::Info {
        match exports.describe(&question.name).await {
            Ok(geometry) => server.answer(question, Ok(&geometry.bounded()), out)?,
            Err(refused) => return Ok(refuse(server, refused, out)?),
        }
        return Ok(None);
    }
    match exports.open(&question.name).await {
        Ok(device) => {
            let geometry = device.geometry().bounded();
            server.answer(question, Ok(&geometry), out)?;
            Ok(Some((device, geometry)))
        }
        Err(refused) => Ok(refuse(server, refused, out)?),
    }
}
