//! The connection is cut at every message in turn.

use std::collections::HashMap;

use lull_wire::DisconnectCode;

use crate::bench::{Daemon, on_one_thread};
use crate::life::shared;
use crate::target::{News, Target};

const BLOCK: usize = 4096;

/// Writes, reads and flushes at once; every one is answered and every byte is right.
async fn work(daemon: &Daemon, round: u8) {
    let consumer = daemon.consumer().await;
    let mut tasks = Vec::new();
    for lane in 0..4u64 {
        let consumer = consumer.clone();
        tasks.push(tokio::task::spawn_local(async move {
            let mut wrote: HashMap<u64, u8> = HashMap::new();
            for step in 0..4u64 {
                let offset = (lane * 4 + step % 3) * BLOCK as u64;
                let byte = round.wrapping_mul(31).wrapping_add((lane * 16 + step) as u8);
                consumer.write(offset, vec![byte; BLOCK], step == 2).await.unwrap();
                wrote.insert(offset, byte);
                if step == 1 {
                    consumer.flush().await.unwrap();
                }
                for (offset, byte) in &wrote {
                    let read = consumer.read(*offset, vec![0; BLOCK]).await.unwrap();
                    assert!(read.iter().all(|found| found == byte), "lane {lane} step {step}");
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// [CONN-3] [CONN-2]
#[test]
fn wherever_the_connection_is_cut_each_request_is_answered_once_and_right() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (target, daemon) = shared(dir.path()).await;
        for message in 1..=120 {
            target.script.borrow_mut().cut_after = Some(message);
            work(&daemon, message as u8).await;
        }
        assert!(target.script.borrow().connections > 100);
        let status = daemon.status().await;
        assert_eq!((status.errors, status.held, status.in_flight), (0, 0, 0));
    });
}

/// [PAUSE-11] [RESUME-1] A planned restart whose messages stop anywhere ends with sharing.
#[test]
fn wherever_a_restart_is_cut_everybody_shares_again() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, mut daemon) = shared(dir.path()).await;
        for message in 1..=24 {
            restart(&mut target, &mut daemon, message).await;
        }
        assert_eq!(daemon.status().await.errors, 0);
    });
}

async fn restart(target: &mut Target, daemon: &mut Daemon, message: u64) {
    let consumer = daemon.consumer().await;
    while target.news.try_recv().is_ok() {}
    consumer.write(0, vec![message as u8; BLOCK], false).await.unwrap();
    target.script.borrow_mut().cut_after = Some(message);
    target.pause(message);
    let writes = async {
        let (a, b) = tokio::join!(
            consumer.write(0, vec![message as u8 + 1; BLOCK], false),
            consumer.write(BLOCK as u64, vec![message as u8 + 2; BLOCK], false)
        );
        a.unwrap();
        b.unwrap();
    };
    let go_down = async {
        // Either it completes, or the cut comes first and it is back without.
        loop {
            match target.next().await {
                News::Complete(_) => {
                    target.disconnect(message, DisconnectCode::Restart);
                    break;
                }
                News::Ready => return,
                News::Stall | News::Detached | News::Unanswered => {}
            }
        }
        target.vanish().await;
        target.listen().await;
        target.ready().await;
    };
    tokio::join!(writes, go_down);
    for (block, byte) in [(0u64, message as u8 + 1), (1, message as u8 + 2)] {
        let read = consumer.read(block * BLOCK as u64, vec![0; BLOCK]).await.unwrap();
        assert!(read.iter().all(|found| *found == byte), "cut at {message}");
    }
    // What is left of the script does not disturb the next round.
    target.script.borrow_mut().cut_after = None;
}
