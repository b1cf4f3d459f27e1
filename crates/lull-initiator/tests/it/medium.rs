//! A medium on another target.

use std::time::Duration;

use lull_block::{Buffer, Completion, Completions, IoStatus, Op, Pool, Request};
use lull_initiator::{Medium, MediumConfig, Taken};
use lull_wire::InstanceId;
use lull_wire::messages::{Hold, Path, Prose};

use crate::bench::{config, on_one_thread};
use crate::target::{News, Target};

/// Of the target in `dir`.
fn begun(dir: &std::path::Path) -> Medium {
    let all = config(dir);
    let attachment = all.attachments[0].clone();
    let (instance, silence) = (InstanceId([7; 16]), all.silence);
    let own =
        MediumConfig { node: all.node, instance, state_dir: all.state_dir, silence, attachment };
    Medium::begin(Taken::take(own).unwrap(), |_| {}, || {}).unwrap()
}

async fn answered(done: &Completions) -> Completion {
    done.ready().await;
    let mut all = Vec::new();
    done.drain(&mut all);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// [CONN-3] What is answered late, when it was given back, goes to nobody: not to the request that has its place since.
#[test]
fn a_late_answer_goes_to_nobody_else() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.script.borrow_mut().mute = true;
        target.listen().await;
        let medium = begun(dir.path());
        target.ready().await;
        let (pool, done) = (Pool::new(1 << 20).unwrap(), Completions::new());
        let read = |tag: u64, length: u32| Request {
            op: Op::Read,
            offset: 0,
            length,
            buffer: pool.take(length as usize).unwrap(),
            token: done.token(tag),
        };
        medium.submit(read(1, 4096));
        assert!(matches!(target.next().await, News::Unanswered));

        medium.give_back(true);
        let (span_ms, path) = (60_000, Path::default());
        target.send(Hold { span_ms, path, reason: Prose::clipped("a third restarts") });
        let back = answered(&done).await;
        assert_eq!((back.tag, back.result), (1, Err(IoStatus::NotExecuted)));

        target.resume(0);
        medium.give_back(false);
        medium.submit(read(2, 512));
        assert!(matches!(target.next().await, News::Unanswered), "once the wait is over");
        target.answer(1, vec![0xaa; 4096]);
        target.answer(2, vec![0xbb; 512]);
        let right = answered(&done).await;
        assert_eq!((right.tag, right.result), (2, Ok(())));
        assert!(right.buffer.iter().all(|byte| *byte == 0xbb));
        assert_eq!(target.script.borrow().connections, 1, "nothing is wrong with any of it");
        medium.leave().await;
    });
}

/// Whoever reads from a target must not wait for memory that only the next replies would free: a read that a process takes over
/// may have found none.
#[test]
fn a_read_without_memory_is_answered_where_others_have_all_of_it() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.listen().await;
        let medium = begun(dir.path());
        target.ready().await;
        let done = Completions::new();
        let mut kept = Vec::new();
        // All buffers from 64 KiB to 1 MiB, and more.
        for tag in 0..256 + 96 + 24 + 10 {
            let (token, buffer) = (done.token(tag), Buffer::empty());
            medium.submit(Request { op: Op::Read, offset: 0, length: 64 << 10, buffer, token });
            let told = tokio::time::timeout(Duration::from_secs(5), answered(&done)).await;
            let Completion { result, buffer, .. } = told.expect("its reply waits");
            assert_eq!((result, buffer.len()), (Ok(()), 64 << 10));
            kept.push(buffer);
        }
        medium.leave().await;
    });
}
