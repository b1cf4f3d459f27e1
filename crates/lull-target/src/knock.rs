//! Knocking: after a start, those initiators that are away are told so where they asked for it [CONN-1].

use crate::daemon::Daemon;
use lull_transport::{Addr, Origin, Stream};
use lull_wire::Digest;
use lull_wire::messages::{Address, Hello};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Who dials within this time is back by himself and is not knocked: after a planned restart, nearly everybody.
const GRACE: Duration = Duration::from_millis(50);
/// How many are knocked at the same time.
const AT_ONCE: usize = 32;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Forgets an address in HELLO that this target has no business at: one that the peer cannot be reached at himself
/// [SEC-4]. What only this host can reach is not to be reached through the target.
pub fn check(hello: &mut Hello, peer: Origin) {
    let sensible = match hello.callback.as_str().parse::<Addr>() {
        Ok(addr) => peer.reaches(&addr),
        Err(_) => false,
    };
    if !sensible {
        hello.callback = Address::default();
    }
}

/// Knocks everybody who is away, each address once, while this target serves; must be called in a `LocalSet`.
pub fn begin(daemon: &Rc<Daemon>) {
    let daemon = Rc::clone(daemon);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(GRACE).await;
        let (all, frame) = {
            let machine = &daemon.core.borrow().machine;
            let mut frame = Vec::new();
            machine.knock().encode(Digest::NONE, &mut frame);
            (Vec::from_iter(machine.callbacks()), Rc::<[u8]>::from(frame))
        };
        for batch in all.chunks(AT_ONCE) {
            // Many came back while others were knocked.
            let absent = daemon.core.borrow().machine.callbacks();
            let batch = batch.iter().filter(|callback| absent.contains(callback));
            let addrs = batch.filter_map(|callback| place(callback, daemon.config.insecure));
            let knocks: Vec<_> =
                addrs.map(|addr| tokio::task::spawn_local(at(addr, Rc::clone(&frame)))).collect();
            for knock in knocks {
                // Nobody aborts it, and it has no result.
                let _ = knock.await;
            }
        }
    });
}

/// Where that is; none where nobody can be, or plain TCP may not be spoken to [SEC-1].
fn place(callback: &Address, insecure: bool) -> Option<Addr> {
    let addr: Addr = callback.as_str().parse().ok()?;
    match addr.check_plain(insecure) {
        Ok(()) => Some(addr),
        Err(refused) => {
            tracing::debug!("not knocked: {refused}");
            None
        }
    }
}

/// One connection with one frame.
async fn at(addr: Addr, frame: Rc<[u8]>) {
    let knock = async {
        let (_reader, mut writer) =
            Stream::dial(&addr).await.map_err(|error| error.source)?.into_split();
        writer.write_all(&frame).await
    };
    match tokio::time::timeout(LIMIT, knock).await {
        Ok(Ok(())) => tracing::debug!("knocked at {addr}"),
        Ok(Err(error)) => tracing::debug!("knocked in vain at {addr}: {error}"),
        Err(_) => tracing::debug!("knocked in vain at {addr}: it took longer than {LIMIT:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lull_wire::InstanceId;

    fn kept(callback: &str, peer: Origin) -> bool {
        let mut hello = Hello {
            min_version: 1,
            max_version: 1,
            instance: InstanceId([1; 16]),
            node: Default::default(),
            software: Default::default(),
            callback: Address::clipped(callback),
        };
        check(&mut hello, peer);
        hello.callback.as_str() == callback
    }

    /// [SEC-4] A peer elsewhere has nothing here knocked at; what is no address is not kept.
    #[test]
    fn only_who_is_here_has_a_callback_here() {
        for here in ["unix:/run/x.sock", "tcp:127.0.0.1:25", "tcp:localhost:25", "tcp:[::1]:25"] {
            assert!(kept(here, Origin::Here), "{here}");
            assert!(!kept(here, Origin::Network), "{here}");
        }
        assert!(kept("tcp:192.0.2.7:10821", Origin::Network));
        assert!(kept("vsock:3:7", Origin::Machine(3)) && kept("vsock:3:7", Origin::Here));
        assert!(!kept("vsock:4:7", Origin::Machine(3)) && !kept("vsock:4:7", Origin::Network));
        assert!(!kept("http://x", Origin::Here));
    }

    /// [SEC-1] [CONN-1]
    #[test]
    fn plain_tcp_beyond_this_host_is_knocked_on_an_operators_word_only() {
        let far = Address::clipped("tcp:192.0.2.7:10821");
        assert_eq!(place(&far, false), None);
        assert!(place(&far, true).is_some());
    }
}
