//! The bounded memory.

use lull_block::{DEFAULT_BUDGET, MAX_PAYLOAD, Pool};

#[test]
fn a_buffer_has_exactly_the_length_asked_for_and_begins_on_a_page() {
    let pool = Pool::new(DEFAULT_BUDGET).unwrap();
    for len in [0, 1, 512, 4096, 4097, 1 << 20, MAX_PAYLOAD as usize] {
        let mut buffer = pool.take(len).unwrap();
        assert_eq!(buffer.len(), len);
        if len > 0 {
            assert_eq!(buffer.as_ptr() as usize % 4096, 0);
            buffer[len - 1] = 1;
        }
    }
    assert!(pool.take(MAX_PAYLOAD as usize + 1).is_none());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_larger_class_serves_when_the_fitting_one_is_empty() {
    let pool = Pool::with_classes(&[(16384, 1), (4096, 1)]).unwrap();
    let small = pool.take(4096).unwrap();
    let large = pool.take(4096).unwrap();
    assert_eq!((large.len(), pool.in_use()), (4096, 4096 + 16384));
    assert_eq!((small.footprint(), large.footprint()), (4096, 16384));
    assert!(pool.take(1).is_none());
    drop(small);
    assert!(pool.take(1).is_some());
}

#[test]
fn buffers_never_overlap() {
    let pool = Pool::with_classes(&[(4096, 8), (8192, 4)]).unwrap();
    let mut all: Vec<_> = std::iter::from_fn(|| pool.take(4096)).collect();
    assert_eq!(all.len(), 12);
    for (n, buffer) in all.iter_mut().enumerate() {
        buffer.fill(n as u8);
    }
    for (n, buffer) in all.iter().enumerate() {
        assert!(buffer.iter().all(|byte| *byte == n as u8));
    }
}

/// Who has it never waits, however long it is.
#[test]
fn a_buffer_alone_is_of_no_pool() {
    for len in [1, 4096, 40 << 20] {
        let mut own = lull_block::Buffer::alone(len).unwrap();
        assert!(own.len() == len && own.iter().all(|byte| *byte == 0));
        own.fill(1);
    }
    assert!(lull_block::Buffer::alone(0).unwrap().is_empty());
}

#[test]
fn senseless_classes_are_refused() {
    for classes in [&[][..], &[(0, 1)], &[(4096, 0)], &[(usize::MAX, 1)], &[(1 << 40, 1 << 30)]] {
        assert!(Pool::with_classes(classes).is_err(), "{classes:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn whoever_waits_gets_what_another_thread_frees() {
    let pool = Pool::with_classes(&[(4096, 1)]).unwrap();
    for _ in 0..200 {
        let held = pool.take(1).unwrap();
        let freeing = std::thread::spawn(move || drop(held));
        let got = pool.take_waiting(4096).await.unwrap();
        drop(got);
        freeing.join().unwrap();
    }
    assert!(pool.take_waiting(4097).await.is_none());
}
