//! How rings come to their stop: by their monitor, by their guest's own nonsense.

use super::*;

/// [TIMER-5] Where nothing is on record a monitor that stops a ring waits for what is in flight, with a name and an end:
/// then the guest is told that it failed, and what was never answered is not lost.
#[test]
fn a_ring_without_a_record_is_stopped_in_the_end() {
    local(async {
        let board = Board::new();
        board.forgets.set(true);
        let identity = Identity::default();
        let (disk, mut machine) = held(&board, identity.clone()).await;
        assert_eq!(identity.asked_once.count(), 1, "[INIT-1] nobody would ask it again");
        tokio::time::pause();
        let time_passes = async {
            for _ in 0..10 {
                a_while().await;
                tokio::time::advance(Duration::from_secs(20)).await;
            }
        };
        let stop = words(&[0, 0]);
        let (state, ()) = tokio::join!(machine.get(11, &stop, &[]), time_passes);
        assert_eq!(state.0[4..8], words(&[1]), "it goes on behind it");
        assert_eq!(machine.used(0).len(), 1);
        assert_eq!((machine.status(DATA), identity.asked_once.count()), (1, 0));
        let told = machine.told.take();
        let [Told::Stops { requests: 1, .. }, Told::GivenUp { requests: 1, .. }] = &told[..] else {
            panic!("{told:?}");
        };
        disk.answers.set(Answers::AtOnce);
        disk.release();
        assert!(machine.used(0).is_empty(), "nobody is answered twice");
        assert_eq!(disk.buffers_out(), 0);
    });
}

/// A monitor that dies while it waits for its ring is not waited for: whoever comes next would be refused meanwhile.
#[test]
fn a_monitor_that_dies_over_a_stop_is_let_go_of_at_once() {
    local(async {
        let board = Board::new();
        board.forgets.set(true);
        let (disk, machine) = held(&board, Identity::default()).await;
        let told = Rc::clone(&machine.told);
        tokio::time::pause();
        machine.send(11, 1, &words(&[0, 0]), &[]);
        while told.borrow().is_empty() {
            yield_now().await;
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(machine.vanish().await.is_err());
        let told = told.take();
        assert!(matches!(told[..], [Told::Stops { requests: 1, .. }]), "{told:?}");
        disk.release();
    });
}

/// [INIT-1] What its guest broke is never answered, whoever serves it: no process waits with its leaving for that. What came before
/// is waited for.
#[test]
fn a_ring_that_makes_no_sense_keeps_nobody_from_leaving() {
    local(async {
        let board = Board::new();
        board.forgets.set(true);
        let identity = Identity::default();
        let (disk, mut machine) = held(&board, identity.clone()).await;
        machine.offer(0, &[(DATA + 8192, 16, 0)]);
        machine.kick(0);
        while machine.told.borrow().is_empty() {
            yield_now().await;
        }
        assert!(matches!(machine.told.borrow()[0], Told::Broken { queue: 0, .. }));
        assert_eq!(identity.asked_once.count(), 1, "the write is under way");
        disk.release();
        assert_eq!(machine.wait_used(0, 1).await.len(), 1);
        assert_eq!((machine.status(DATA), identity.asked_once.count()), (0, 0));
    });
}

/// [TIMER-5] Nor does a monitor wait for its stop, where a request cannot be answered into the memory that it has now.
#[test]
fn a_ring_that_breaks_over_its_stop_is_stopped() {
    local(async {
        let board = Board::new();
        board.forgets.set(true);
        let (disk, machine) = held(&board, Identity::default()).await;
        machine.send(5, 1, &words(&[0, 0]), &[]);
        let answer = async {
            a_while().await;
            disk.release();
        };
        let stop = words(&[0, 0]);
        let (state, ()) = tokio::join!(machine.get(11, &stop, &[]), answer);
        assert_eq!(state.0[..4], words(&[0]));
        let told = machine.told.take();
        assert!(!told.iter().any(|one| matches!(one, Told::Stops { .. })), "{told:?}");
    });
}

/// A machine one of whose writes is taken, and whose ring cannot be kicked any more.
async fn kicked_no_more(board: &Rc<Board>) -> (Rc<Memory>, Machine) {
    let disk = Rc::new(Memory::new(MIB));
    disk.answers.set(Answers::Held);
    let mut machine = Machine::connect(board, &disk, Identity::default());
    machine.introduce(FEATURES).await;
    let (kick, hears) = std::os::unix::net::UnixStream::pair().unwrap();
    machine.ring_kicked_by(0, kick.into(), hears.into()).await;
    machine.ask(0, OUT, 0, DATA, Data::Out(&[1; 512]));
    machine.kick(0);
    while disk.held() < 1 {
        yield_now().await;
    }
    machine.kicks_no_more(0);
    while machine.told.borrow().is_empty() {
        yield_now().await;
    }
    assert!(matches!(machine.told.borrow()[0], Told::Broken { queue: 0, .. }));
    (disk, machine)
}

/// [CONN-5] What was taken before its ring could not be kicked any more is answered before a disk ends.
#[test]
fn a_closed_disk_waits_for_a_ring_that_cannot_be_kicked() {
    local(async {
        let (disk, mut machine) = kicked_no_more(&Board::new()).await;
        machine.closer.close();
        a_while().await;
        assert!(!machine.task.is_finished());
        disk.release();
        a_while().await;
        assert_eq!((machine.used(0).len(), machine.status(DATA)), (1, 0));
        assert!(machine.task.is_finished());
    });
}

/// [CONN-3] Nor does it lose its answer over a stop, where nobody asks it again.
#[test]
fn a_ring_that_cannot_be_kicked_is_stopped_when_what_was_taken_is_answered() {
    local(async {
        let board = Board::new();
        board.forgets.set(true);
        let (disk, mut machine) = kicked_no_more(&board).await;
        tokio::time::pause();
        let restarts = async {
            a_while().await;
            tokio::time::advance(Duration::from_secs(10)).await;
            a_while().await;
            disk.release();
        };
        let stop = words(&[0, 0]);
        let (state, ()) = tokio::join!(machine.get(11, &stop, &[]), restarts);
        assert_eq!(state.0[4..8], words(&[1]), "it goes on behind it");
        assert_eq!((machine.used(0).len(), machine.status(DATA)), (1, 0));
    });
}

/// [SAFE-11] Nor is a change of a shared disk left to its record, where the next start could but fail it: a monitor that stops
/// its guest while the target restarts waits for that.
#[test]
fn a_ring_of_a_shared_disk_is_stopped_when_its_changes_are_answered() {
    local(async {
        let identity = Identity { asks_once: true, ..Identity::default() };
        let (disk, mut machine) = held(&Board::new(), identity).await;
        tokio::time::pause();
        let restarts = async {
            a_while().await;
            tokio::time::advance(Duration::from_secs(10)).await;
            a_while().await;
            disk.release();
        };
        let stop = words(&[0, 0]);
        let (state, ()) = tokio::join!(machine.get(11, &stop, &[]), restarts);
        assert_eq!(state.0[4..8], words(&[1]), "it goes on behind it");
        assert_eq!((machine.used(0).len(), machine.status(DATA)), (1, 0));
    });
}

/// [INIT-1] Of what is asked in parts nobody asks for the rest.
#[test]
fn a_ring_that_breaks_in_the_middle_of_a_request_keeps_nobody_from_leaving() {
    local(async {
        let board = Board::new();
        board.forgets.set(true);
        let (identity, disk) = (Identity::default(), Rc::new(Memory::new(4 * MIB)));
        disk.answers.set(Answers::Held);
        let mut machine = Machine::connect(&board, &disk, identity.clone());
        machine.begin(FEATURES, 1).await;
        machine.ask(0, OUT, 0, DATA, Data::Out(&vec![1; 2 * MIB as usize]));
        machine.kick(0);
        while disk.held() < 1 {
            yield_now().await;
        }
        machine.offer(0, &[(DATA + 3 * MIB, 16, 0)]);
        machine.kick(0);
        while machine.told.borrow().is_empty() {
            yield_now().await;
        }
        assert_eq!(identity.asked_once.count(), 1, "its first part is under way");
        disk.release();
        a_while().await;
        assert_eq!((disk.ops.borrow().len(), identity.asked_once.count()), (1, 0));
    });
}

/// [TIMER-5] Whoever closes may wait for a target for as long as that takes: a monitor that stops its guest meanwhile is answered
/// in its time. From then on nobody has to be answered, whatever the monitor starts anew.
#[test]
fn a_ring_of_a_closed_disk_is_stopped() {
    local(async {
        let board = Board::new();
        let (disk, mut machine) = held(&board, Identity::default()).await;
        machine.ring(1).await;
        machine.closer.close();
        a_while().await;
        tokio::time::pause();
        let time_passes = async {
            for _ in 0..10 {
                a_while().await;
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        };
        let (stop, limit) = (words(&[0, 0]), Duration::from_secs(5));
        let stopped = tokio::time::timeout(limit, machine.get(11, &stop, &[]));
        let (state, ()) = tokio::join!(stopped, time_passes);
        assert_eq!(state.expect("it is heard").0[4..8], words(&[1]), "it is asked again behind it");
        a_while().await;
        assert!(machine.task.is_finished());
        assert!((&mut machine.task).await.unwrap().is_ok());
        disk.release();
        assert_eq!(machine.used(0).len(), 0);
    });
}

/// [CONN-5] Whoever leaves fails what is taken from then on, be its monitor busy with the stop of another ring.
#[test]
fn a_disk_that_is_closed_over_a_stop_takes_nothing_more() {
    local(async {
        let board = Board::new();
        board.forgets.set(true);
        let (disk, mut machine) = held(&board, Identity::default()).await;
        machine.ring(1).await;
        machine.send(11, 1, &words(&[0, 0]), &[]);
        a_while().await;
        machine.closer.close();
        machine.ask(1, OUT, 1, DATA + 4096, Data::Out(&[1; 512]));
        machine.kick(1);
        a_while().await;
        assert_eq!(disk.held(), 1, "it is not taken");
        disk.release();
        a_while().await;
        assert_eq!((machine.used(0).len(), machine.used(1).len()), (1, 0));
        assert!((&mut machine.task).await.unwrap().is_ok());
    });
}

/// [CONN-5] What a life that was killed had taken and this one has not stays on record: a disk that ends does not wait for it.
#[test]
fn a_closed_disk_ends_without_what_it_has_not_taken_from_the_record() {
    local(async {
        let board = Board::new();
        let dead = Rc::new(Memory::new(MIB));
        dead.answers.set(Answers::Held);
        let mut machine = Machine::up(&board, &dead, 1).await;
        for number in 0..4 {
            machine.ask(0, IN, number, DATA + number * 4096, Data::In(512));
        }
        machine.kick(0);
        while dead.held() < 4 {
            yield_now().await;
        }
        drop(machine);
        let mut disk = Memory::new(MIB);
        disk.most_buffers = 1;
        let disk = Rc::new(disk);
        disk.answers.set(Answers::Held);
        let mut machine = Machine::up(&board, &disk, 1).await;
        while disk.held() < 1 {
            yield_now().await;
        }
        machine.closer.close();
        for _ in 0..4 {
            a_while().await;
            disk.release();
        }
        a_while().await;
        assert_eq!(machine.used(0).len(), disk.ops.borrow().len());
        assert!(machine.used(0).len() < 4, "memory for one at a time");
        assert!(machine.task.is_finished());
        dead.release();
    });
}
