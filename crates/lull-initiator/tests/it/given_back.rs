//! A medium on another target, whose requests go back to whoever asked while that one is told to wait.

use lull_block::{Completion, Completions, IoStatus, Op, Pool, Request};
use lull_initiator::{Medium, MediumConfig, Taken};
use lull_wire::InstanceId;
use lull_wire::messages::{Hold, Path, Prose};

use crate::bench::{config, on_one_thread};
use crate::target::{News, Target};

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
        let all = config(dir.path());
        let attachment = all.attachments[0].clone();
        let (instance, silence) = (InstanceId([7; 16]), all.silence);
        let own = MediumConfig {
            node: all.node,
            instance,
            state_dir: all.state_dir,
            silence,
            attachment,
        };
        let medium = Medium::begin(Taken::take(own).unwrap(), |_| {}, || {}).unwrap();
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
