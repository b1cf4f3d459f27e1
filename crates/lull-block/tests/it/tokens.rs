//! Tokens and the queue of their answers.

use std::panic;

use lull_block::{Buffer, Completions, IoStatus};

#[test]
fn a_token_that_is_dropped_unanswered_panics() {
    let completions = Completions::new();
    let token = completions.token(7);
    let lost = panic::catch_unwind(panic::AssertUnwindSafe(|| drop(token)));
    let text = *lost.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("request 7"), "{text}");
}

#[test]
fn a_token_dropped_by_a_panic_does_not_abort() {
    let completions = Completions::new();
    let token = completions.token(7);
    let lost = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let _token = token;
        panic!("another reason");
    }));
    assert_eq!(*lost.unwrap_err().downcast::<&str>().unwrap(), "another reason");
}

#[test]
fn an_abandoned_token_answers_nothing() {
    let completions = Completions::new();
    completions.token(1).abandon();
    completions.token(2).answer(Err(IoStatus::Io), Buffer::empty());
    let mut done = Vec::new();
    completions.drain(&mut done);
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].tag, done[0].result), (2, Err(IoStatus::Io)));
}

#[tokio::test(flavor = "current_thread")]
async fn answers_from_another_thread_wake_the_one_who_waits() {
    let completions = Completions::new();
    for round in 0..200 {
        let token = completions.token(round);
        let answering = std::thread::spawn(move || token.answer(Ok(()), Buffer::empty()));
        completions.ready().await;
        let mut done = Vec::new();
        completions.drain(&mut done);
        assert_eq!(done[0].tag, round);
        answering.join().unwrap();
    }
}

#[test]
fn draining_keeps_what_was_drained_before() {
    let completions = Completions::new();
    let mut done = Vec::new();
    for tag in 0..3 {
        completions.token(tag).answer(Ok(()), Buffer::empty());
        completions.drain(&mut done);
    }
    let tags: Vec<u64> = done.iter().map(|done| done.tag).collect();
    assert_eq!(tags, [0, 1, 2]);
}
