//! NBD without a connection: its handshakes as machines, its messages.

use crate::bytes::Bytes;
use lull_frontend::nbd::handshake::{client as theirs, server as ours};
use lull_frontend::nbd::info::Info;
use lull_frontend::nbd::reply::Head;
use lull_frontend::nbd::request::{Request, Terms, Verdict};
use lull_frontend::nbd::{Dialect, Extent, Geometry, Op, OpenRefused};

pub const SIZE: u64 = 1 << 20;

pub fn geometry() -> Geometry {
    Geometry {
        size: SIZE,
        block: 512,
        preferred: 4096,
        max_length: 1 << 20,
        read_only: false,
        discard: true,
        write_zeroes: true,
        fast_zeroes: true,
        cache: true,
        extents: true,
        multi_conn: true,
        description: "a disk in memory".into(),
    }
}

/// The first byte says in which portions the rest comes: what is made of it does not depend on that.
pub fn server(bytes: &[u8]) {
    let Some((portion, said)) = bytes.split_first() else { return };
    let whole = answers(said, said.len().max(1));
    let parts = answers(said, usize::from(*portion % 64) + 1);
    assert_eq!(whole, parts, "portions change what is answered");
    // [SEC-4]
    assert!(whole.0.len() <= 64 * said.len() + 200, "{} bytes for {}", whole.0.len(), said.len());
}

/// What is answered, and whether the client was let into transmission.
fn answers(said: &[u8], portion: usize) -> (Vec<u8>, bool) {
    let geometry = geometry();
    let (mut machine, mut out) = (ours::Server::new(), Vec::new());
    let (mut from, mut to) = (0, 0);
    while to < said.len() && !machine.is_done() {
        to = (to + portion).min(said.len());
        loop {
            let Ok((used, step)) = machine.receive(&said[from..to], &mut out) else {
                return (out, false);
            };
            assert!(used <= to - from, "more is used than is there");
            from += used;
            match step {
                ours::Step::More => {
                    assert_eq!(used, 0, "what is not enough is kept");
                    break;
                }
                ours::Step::Went => {}
                ours::Step::Contexts(question) => {
                    machine.answer_contexts(question, Ok(&geometry), &mut out);
                }
                ours::Step::List => machine.listed(&["disk".into()], &mut out),
                ours::Step::Open(question) => {
                    let export = match question.name.as_str() {
                        "" | "disk" => Ok(&geometry),
                        _ => Err(OpenRefused::Unknown("there is only `disk`".into())),
                    };
                    if machine.answer(&question, export, &mut out).is_err() {
                        return (out, false);
                    }
                    if machine.is_done() {
                        break;
                    }
                }
                ours::Step::Leave => return (out, false),
            }
        }
    }
    (out, machine.is_done())
}

/// The same for what a server says.
pub fn client(bytes: &[u8]) {
    let Some((portion, said)) = bytes.split_first() else { return };
    let machines: [fn() -> theirs::Client; 2] =
        [|| theirs::Client::new("disk"), theirs::Client::list];
    for machine in machines {
        let whole = asks(machine(), said, said.len().max(1));
        let parts = asks(machine(), said, usize::from(*portion % 64) + 1);
        assert_eq!(whole, parts, "portions change what is asked");
        assert!(whole.0.len() <= 64 * said.len() + 200);
    }
}

/// What is asked, and what it came to, in words.
fn asks(mut machine: theirs::Client, said: &[u8], portion: usize) -> (Vec<u8>, String) {
    let (mut out, mut from, mut to) = (Vec::new(), 0, 0);
    while to < said.len() {
        to = (to + portion).min(said.len());
        loop {
            match machine.receive(&said[from..to], &mut out) {
                Ok((used, theirs::Step::More)) => {
                    assert_eq!(used, 0, "what is not enough is kept");
                    break;
                }
                Ok((used, theirs::Step::Went)) => {
                    assert!(used <= to - from, "more is used than is there");
                    from += used;
                }
                Ok((_, end)) => return (out, format!("{end:?}")),
                Err(error) => return (out, error.to_string()),
            }
        }
    }
    (out, "more is wanted".to_owned())
}

/// The first byte says in which dialect.
pub fn messages(bytes: &[u8]) {
    let mut from = Bytes::new(bytes);
    let choice = from.byte();
    let dialect =
        [Dialect::Simple, Dialect::Structured, Dialect::Extended][usize::from(choice % 3)];
    let message = from.rest();
    let _ = Head::decode(message);
    if let Some(info) = Info::decode(message)
        && !matches!(info, Info::Unknown(_))
    {
        assert_eq!(info.encode(), message);
    }
    if let Some(entry) = message.first_chunk() {
        let extent = Extent::decode(entry);
        assert_eq!(Extent::decode(&extent.encode()), extent);
    }
    let Ok(Some(request)) = Request::decode(message, dialect) else { return };
    let again = match dialect {
        Dialect::Simple | Dialect::Structured => request.encode().to_vec(),
        Dialect::Extended => request.encode_extended().to_vec(),
    };
    assert!(message.starts_with(&again), "{request:?} is written in another way");
    let terms = Terms { dialect, extents: choice & 0x40 != 0 };
    let export = Geometry { read_only: choice & 0x80 != 0, ..geometry() };
    if let Verdict::Do(op) = request.judge(&export, terms) {
        let end = request.offset.checked_add(request.length);
        assert!(end.is_some_and(|end| end <= export.size), "{request:?} ends outside");
        assert!(request.length > 0 || op == Op::Flush);
        assert!(!(op.is_change() && export.read_only), "{request:?} changes what is read only");
    }
}
