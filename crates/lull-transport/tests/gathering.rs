//! The outgoing side of a connection.

use std::rc::Rc;

use lull_transport::{Outlet, Stream};
use tokio::io::AsyncReadExt;
use tokio::task::{LocalSet, yield_now};

/// A payload that tells whether it still exists.
struct Payload(Vec<u8>, #[allow(dead_code, reason = "counted")] Rc<()>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// An outlet with its pump at work, and the far end.
fn pumped() -> (Outlet<Payload>, tokio::task::JoinHandle<std::io::Result<()>>, Stream) {
    let (near, far) = Stream::pair().unwrap();
    let outlet = Outlet::new();
    let pumping = outlet.clone();
    let (r, mut w) = near.into_split();
    let pump = tokio::task::spawn_local(async move {
        let _r = r;
        pumping.pump(&mut w).await
    });
    (outlet, pump, far)
}

#[test]
fn everything_arrives_in_order_and_the_end_follows() {
    local(async {
        let (outlet, pump, mut far) = pumped();
        let (alive, mut expected) = (Rc::new(()), Vec::new());
        for i in 0..3000usize {
            let header = [(i % 251) as u8; 5];
            let payload = vec![(i % 13) as u8; i % 700];
            expected.extend_from_slice(&header);
            expected.extend_from_slice(&payload);
            outlet.push_frame(&header, Payload(payload, Rc::clone(&alive)));
            outlet.push_bytes(b"!");
            expected.push(b'!');
        }
        assert_eq!(outlet.queued(), expected.len());
        outlet.finish();
        outlet.push_bytes(b"too late");
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert!(got == expected);
        pump.await.unwrap().unwrap();
        assert_eq!((outlet.queued(), Rc::strong_count(&alive)), (0, 1));
        assert!(!outlet.has_payloads());
    });
}

#[test]
fn one_turns_answers_leave_in_one_piece() {
    local(async {
        let (outlet, _pump, mut far) = pumped();
        yield_now().await;
        let alive = Rc::new(());
        for _ in 0..20 {
            outlet.push_frame(b"head", Payload(vec![7; 100], Rc::clone(&alive)));
        }
        // One read of a unix socket returns across what separate writes left, but not more than
        // there is: everything is there as soon as anything is.
        let mut got = vec![0; 10_000];
        assert_eq!(far.read(&mut got).await.unwrap(), 20 * 104);
    });
}

#[test]
fn back_pressure_lasts_until_enough_is_written() {
    local(async {
        let (outlet, _pump, mut far) = pumped();
        let alive = Rc::new(());
        outlet.push_frame(b"", Payload(vec![1; 4 << 20], Rc::clone(&alive)));
        let waiting = tokio::task::spawn_local({
            let outlet = outlet.clone();
            async move { outlet.below(1 << 20).await }
        });
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!waiting.is_finished());
        assert!(outlet.queued() > 1 << 20);
        assert!(outlet.has_payloads() && Rc::strong_count(&alive) == 2);
        let mut got = vec![0; 4 << 20];
        far.read_exact(&mut got).await.unwrap();
        waiting.await.unwrap();
        assert!(outlet.queued() < 1 << 20);
    });
}

#[test]
fn a_peer_that_goes_ends_the_pump_and_frees_the_payloads() {
    local(async {
        let (outlet, pump, far) = pumped();
        let alive = Rc::new(());
        outlet.push_frame(b"", Payload(vec![1; 4 << 20], Rc::clone(&alive)));
        for _ in 0..10 {
            yield_now().await;
        }
        drop(far);
        pump.await.unwrap().unwrap_err();
        outlet.push_frame(b"", Payload(vec![1; 100], Rc::clone(&alive)));
        outlet.below(1).await;
        assert!(!outlet.is_open());
        assert_eq!((outlet.queued(), Rc::strong_count(&alive)), (0, 1));
        assert!(!outlet.has_payloads());
    });
}

#[test]
fn abort_ends_a_stuck_pump() {
    local(async {
        let (outlet, pump, _far) = pumped();
        let alive = Rc::new(());
        outlet.push_frame(b"", Payload(vec![1; 4 << 20], Rc::clone(&alive)));
        for _ in 0..10 {
            yield_now().await;
        }
        outlet.abort();
        let error = pump.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        assert_eq!((outlet.queued(), Rc::strong_count(&alive)), (0, 1));
    });
}
