//! A device as the disk of a virtual machine, by the messages that monitors send and the rings that drivers make.

#[path = "support/machine.rs"]
mod machine;
#[path = "guest/stops.rs"]
mod stops;
mod support;

use std::rc::Rc;
use std::time::Duration;

use lull_frontend::nbd::{Errno, Op};
use lull_frontend::vhost_user::{Identity, SERIAL, Told};
use machine::{
    Board, DATA, Data, FEATURES, INDIRECT, Machine, NEXT, SIZE, WRITE, descriptor, words,
};
use support::{Answers, MIB, Memory, local};
use tokio::task::yield_now;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const ZEROES: u32 = 13;

/// What others in this process have to do, they do.
async fn a_while() {
    for _ in 0..100 {
        yield_now().await;
    }
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

/// A machine one of whose writes is taken by a disk that does not answer.
async fn held(board: &Rc<Board>, identity: Identity) -> (Rc<Memory>, Machine) {
    let disk = Rc::new(Memory::new(MIB));
    disk.answers.set(Answers::Held);
    let mut machine = Machine::connect(board, &disk, identity);
    machine.begin(FEATURES, 1).await;
    machine.ask(0, OUT, 0, DATA, Data::Out(&[1; 512]));
    machine.kick(0);
    while disk.held() < 1 {
        yield_now().await;
    }
    (disk, machine)
}

#[test]
fn whatever_a_guest_writes_it_reads_again_from_any_queue() {
    local(async {
        for answers in [Answers::AtOnce, Answers::LastFirst] {
            let disk = Rc::new(Memory::new(4 * MIB));
            disk.answers.set(answers);
            let mut machine = Machine::up(&Board::new(), &disk, 2).await;
            let bytes: Vec<u8> = (0..65_536u32).map(|at| (at / 7) as u8 | 1).collect();
            assert_eq!(machine.done(OUT, 8, Data::Out(&bytes)).await, 0);
            assert_eq!(disk.bytes.borrow()[4096..][..65_536], bytes);
            machine.ask(1, IN, 8, DATA + MIB, Data::In(65_536));
            machine.kick(1);
            assert_eq!(machine.wait_used(1, 1).await, [(0, 65_537)]);
            assert_eq!((machine.status(DATA + MIB), machine.data(DATA + MIB, 65_536)), (0, bytes));
        }
    });
}

/// However a driver lays out a request, it is a row of bytes.
#[test]
fn a_request_may_be_cut_anywhere_and_lie_in_a_table_of_its_own() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        let mut machine = Machine::up(&Board::new(), &disk, 1).await;
        let header = [&OUT.to_le_bytes()[..], &[0; 4], &3u64.to_le_bytes()].concat();
        let bytes = [header, vec![7; 1024]].concat();
        machine.board.memory.write(DATA, &bytes).unwrap();
        let status = DATA + 4096;
        // The first piece ends in the header, the second has its end and data.
        machine.offer(
            0,
            &[(DATA, 5, 0), (DATA + 5, 600, 0), (DATA + 605, 435, 0), (status, 1, WRITE)],
        );
        machine.kick(0);
        machine.wait_used(0, 1).await;
        assert!(disk.bytes.borrow()[1536..2560].iter().all(|byte| *byte == 7));

        machine.board.memory.write(DATA, &IN.to_le_bytes()).unwrap();
        let table = DATA + 8192;
        let answer = DATA + 16_384;
        // Data and status in pieces that do not respect each other.
        let pieces = [
            descriptor(DATA, 16, NEXT, 1),
            descriptor(answer, 1000, NEXT | WRITE, 2),
            descriptor(answer + 1000, 25, WRITE, 0),
        ];
        machine.board.memory.write(table, &pieces.concat()).unwrap();
        machine.offer(0, &[(table, 48, INDIRECT)]);
        machine.kick(0);
        assert_eq!(machine.wait_used(0, 1).await[0].1, 1025);
        let mut found = [1; 1025];
        machine.board.memory.read(answer, &mut found).unwrap();
        assert_eq!((&found[..1024], found[1024]), (&[7; 1024][..], 0));
    });
}

#[test]
fn a_disk_tells_its_name_and_does_what_a_disk_does() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        disk.bytes.borrow_mut().fill(9);
        let mut serial = [0; SERIAL];
        serial[..6].copy_from_slice(b"a-disk");
        let identity = Identity { serial, ..Identity::default() };
        let mut machine = Machine::connect(&Board::new(), &disk, identity);
        machine.begin(FEATURES, 1).await;
        assert_eq!(machine.done(GET_ID, 0, Data::In(20)).await, 0);
        assert_eq!(machine.data(DATA, 20), serial);
        assert_eq!(machine.done(FLUSH, 0, Data::In(0)).await, 0);
        assert_eq!(disk.flushes.get(), 1);
        assert_eq!(machine.done(DISCARD, 0, Data::Out(&range(8, 8, 0))).await, 0);
        assert_eq!(machine.done(ZEROES, 0, Data::Out(&range(16, 8, 1))).await, 0);
        assert_eq!(machine.done(ZEROES, 0, Data::Out(&range(24, 8, 0))).await, 0);
        let zeroes = |keep_allocated| Op::WriteZeroes { fua: false, keep_allocated, fast: false };
        assert_eq!(*disk.ops.borrow(), [Op::Flush, Op::Discard, zeroes(false), zeroes(true)]);
        let bytes = disk.bytes.borrow().clone();
        assert_eq!((bytes[4095], bytes[4096], bytes[16_383], bytes[16_384]), (9, 0, 0, 9));
    });
}

#[test]
fn what_cannot_be_done_is_answered_and_never_asked_of_the_device() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        let mut machine = Machine::up(&Board::new(), &disk, 1).await;
        let (failed, unsupported) = (1, 2);
        for (kind, sector, data, status) in [
            (IN, 2047, Data::In(1024), failed),
            (OUT, u64::MAX, Data::Out(&[0; 512]), failed),
            (OUT, 0, Data::Out(&[0; 511]), failed),
            (DISCARD, 0, Data::Out(&range(2048, 1, 0)), failed),
            (DISCARD, 0, Data::Out(&range(0, 1, 1)), unsupported),
            (ZEROES, 0, Data::Out(&range(0, 1, 2)), unsupported),
            (ZEROES, 0, Data::Out(&[0; 32]), failed),
            (77, 0, Data::In(0), unsupported),
        ] {
            assert_eq!(machine.done(kind, sector, data).await, status, "{kind} at {sector}");
        }
        assert!(disk.ops.borrow().is_empty());
        disk.fail.set(Some(Errno::NoSpace));
        assert_eq!(machine.done(OUT, 0, Data::Out(&[1; 512])).await, failed);
        assert_eq!(disk.buffers_out(), 0);
    });
    local(async {
        let mut disk = Memory::new(MIB);
        disk.geometry.read_only = true;
        let disk = Rc::new(disk);
        let mut machine = Machine::up(&Board::new(), &disk, 1).await;
        assert_eq!(machine.done(OUT, 0, Data::Out(&[1; 512])).await, 1);
        assert_eq!(machine.done(IN, 0, Data::In(512)).await, 0);
    });
}

/// A guest that does not flush, or has chosen not to have to, is answered when it is durable. The choice outlives this
/// process.
#[test]
fn a_guest_that_writes_through_has_durable_writes() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        let (board, flush) = (Board::new(), 1 << 9);
        let mut machine = Machine::connect(&board, &disk, Identity::default());
        machine.begin(FEATURES & !flush, 1).await;
        machine.done(OUT, 0, Data::Out(&[1; 512])).await;
        let _ = machine.vanish().await;
        let mut machine = Machine::up(&board, &disk, 1).await;
        machine.done(OUT, 0, Data::Out(&[1; 512])).await;
        let config = machine.get(24, &[words(&[32, 1, 0]), vec![0]].concat(), &[]).await.0;
        assert_eq!(config[12..], [1], "written back");
        machine.say(25, &[words(&[32, 1, 1]), vec![0]].concat(), &[]).await;
        machine.done(OUT, 0, Data::Out(&[1; 512])).await;
        let _ = machine.vanish().await;
        let mut machine = Machine::up(&board, &disk, 1).await;
        machine.done(OUT, 0, Data::Out(&[1; 512])).await;
        let fua = [true, false, true, true].map(|fua| Op::Write { fua });
        assert_eq!(*disk.ops.borrow(), fua);
    });
}

/// Large buffers are few: more than one of them is asked for in parts.
#[test]
fn a_request_longer_than_a_buffer_is_done_in_parts() {
    local(async {
        let mut disk = Memory::new(4 * MIB);
        disk.most_buffers = 1;
        let disk = Rc::new(disk);
        disk.answers.set(Answers::LastFirst);
        let mut machine = Machine::up(&Board::new(), &disk, 1).await;
        let bytes: Vec<u8> = (0..3 * MIB as u32).map(|at| (at / 4099) as u8).collect();
        assert_eq!(machine.done(OUT, 0, Data::Out(&bytes)).await, 0);
        assert_eq!(machine.done(IN, 0, Data::In(bytes.len() as u32)).await, 0);
        assert_eq!(machine.data(DATA, bytes.len()), bytes);
        assert_eq!(disk.ops.borrow().len(), 6);
    });
}

/// A killed process leaves on record what it had taken: the next asks it again, in its order, and all is answered once.
#[test]
fn what_was_in_flight_when_a_process_died_is_asked_again_in_order() {
    local(async {
        let board = Board::new();
        let dead = Rc::new(Memory::new(MIB));
        dead.answers.set(Answers::LastFirst);
        let mut machine = Machine::up(&board, &dead, 1).await;
        // Some that are over, so that the ring is not at its beginning.
        for sector in 0..5 {
            assert_eq!(machine.done(OUT, sector, Data::Out(&[1; 512])).await, 0);
        }
        dead.answers.set(Answers::Held);
        let at = |number: u64| DATA + number * 4096;
        let mut heads = Vec::new();
        for number in 0..6 {
            heads.push(machine.ask(
                0,
                OUT,
                100 + number,
                at(number),
                Data::Out(&[number as u8; 512]),
            ));
        }
        machine.kick(0);
        while dead.held() < 6 {
            yield_now().await;
        }
        // Made available, and nobody was told.
        heads.push(machine.ask(0, OUT, 106, at(6), Data::Out(&[6; 512])));
        drop(machine);
        let disk = Rc::new(Memory::new(MIB));
        let mut machine = Machine::up(&board, &disk, 1).await;
        let used = machine.wait_used(0, 7).await;
        assert_eq!(used.iter().map(|(head, _)| *head).collect::<Vec<_>>(), heads);
        assert!(machine.calls(0) > 0, "the guest hears of it");
        assert_eq!(*machine.told.borrow(), [Told::Recovered { queue: 0, requests: 6 }]);
        for number in 0..7 {
            let written = disk.bytes.borrow()[(100 + number as usize) * 512];
            assert_eq!((machine.status(at(number)), written), (0, number as u8));
        }
        assert_eq!(machine.done(IN, 106, Data::In(512)).await, 0, "and it goes on");
        dead.release();
        yield_now().await;
        assert!(machine.used(0).is_empty(), "nobody is answered twice");
    });
}

/// What an earlier connection has asked of this very device may still happen, and is never overtaken.
#[test]
fn a_ring_begins_when_what_an_earlier_connection_asked_is_over() {
    local(async {
        let board = Board::new();
        let disk = Rc::new(Memory::new(MIB));
        disk.answers.set(Answers::Held);
        let identity = Identity::default();
        let mut machine = Machine::connect(&board, &disk, identity.clone());
        machine.begin(FEATURES, 1).await;
        machine.ask(0, OUT, 7, DATA, Data::Out(&[1; 512]));
        machine.kick(0);
        while disk.held() < 1 {
            yield_now().await;
        }
        assert!(machine.vanish().await.is_err());
        let mut machine = Machine::connect(&board, &disk, identity);
        machine.begin(FEATURES, 1).await;
        a_while().await;
        assert_eq!(disk.held(), 1, "it waits");
        disk.answers.set(Answers::AtOnce);
        disk.release();
        machine.wait_used(0, 1).await;
        assert_eq!((machine.status(DATA), disk.ops.borrow().len()), (0, 2));
    });
}

/// [SAFE-11] Who does not know whether a change was done does not do it again where others may have written since: its
/// guest is told that it failed. A read is asked again as ever.
#[test]
fn a_change_that_was_in_flight_fails_where_others_write_too() {
    local(async {
        let board = Board::new();
        let [first, next] = [(); 2].map(|()| Identity { asks_once: true, ..Identity::default() });
        let dead = Rc::new(Memory::new(MIB));
        dead.answers.set(Answers::Held);
        let mut machine = Machine::connect(&board, &dead, first.clone());
        machine.begin(FEATURES, 1).await;
        machine.ask(0, OUT, 7, DATA, Data::Out(&[1; 512]));
        machine.ask(0, IN, 8, DATA + 4096, Data::In(512));
        machine.kick(0);
        while dead.held() < 2 {
            yield_now().await;
        }
        assert_eq!(first.asked_once.count(), 1, "[INIT-1] whoever goes on could but fail it");
        drop(machine);
        let disk = Rc::new(Memory::new(MIB));
        let mut machine = Machine::connect(&board, &disk, next);
        machine.begin(FEATURES, 1).await;
        assert_eq!(machine.wait_used(0, 2).await.len(), 2);
        assert_eq!((machine.status(DATA), machine.status(DATA + 4096)), (1, 0));
        assert_eq!(*disk.ops.borrow(), [Op::Read]);
        assert_eq!(machine.done(OUT, 7, Data::Out(&[2; 512])).await, 0, "and it goes on");
        dead.release();
    });
}

/// [INIT-1] A process that is to leave waits for what it has asked, and asks nothing more; where nothing comes of it, the
/// guest goes on.
#[test]
fn a_quiet_disk_answers_what_it_took_and_takes_the_rest_later() {
    local(async {
        let (disk, mut machine) = held(&Board::new(), Identity::default()).await;
        machine.closer.quiet();
        a_while().await;
        machine.ask(0, OUT, 1, DATA + 4096, Data::Out(&[1; 512]));
        machine.kick(0);
        disk.answers.set(Answers::AtOnce);
        disk.release();
        assert_eq!(machine.wait_used(0, 1).await.len(), 1);
        a_while().await;
        assert_eq!(disk.ops.borrow().len(), 1, "it is not taken");
        machine.closer.go_on();
        assert_eq!(machine.wait_used(0, 1).await.len(), 1);
        assert_eq!((machine.status(DATA + 4096), disk.ops.borrow().len()), (0, 2));
    });
}

/// [SEC-4] One thread serves all guests, and what is answered at once waits for nothing.
#[test]
fn a_guest_whose_requests_are_answered_at_once_leaves_others_their_turn() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        let mut machine = Machine::up(&Board::new(), &disk, 1).await;
        let head = machine.ask(0, IN, 0, DATA, Data::In(0));
        (1..SIZE).for_each(|_| machine.post(0, head));
        machine.kick(0);
        let mut used = Vec::new();
        while used.is_empty() {
            yield_now().await;
            used = machine.used(0);
        }
        let first = used.len();
        assert!(first < SIZE.into(), "nobody else has come to anything meanwhile");
        assert_eq!(machine.wait_used(0, usize::from(SIZE) - first).await.len() + first, 64);
        assert!(disk.ops.borrow().is_empty());
    });
}

/// Both sides are woken only where they want to be, and once for many.
#[test]
fn many_that_end_together_are_one_call_and_none_where_nobody_wants_it() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        disk.answers.set(Answers::Held);
        let mut machine = Machine::up(&Board::new(), &disk, 1).await;
        let mut expected = 0;
        for (from, calls) in [(0, 1), (13, 1), (100, 0)] {
            machine.call_from(0, from);
            for number in 0..8 {
                machine.ask(0, IN, number, DATA + number * 4096, Data::In(512));
            }
            machine.kick(0);
            while disk.held() < 8 {
                yield_now().await;
            }
            machine.calls(0);
            disk.release();
            machine.wait_used(0, 8).await;
            yield_now().await;
            assert_eq!(machine.calls(0), calls, "from {from} on");
            expected += 8;
            assert_eq!(machine.kicked_from(0), expected, "a kick is wanted for the next");
        }
    });
}

/// A guest's own nonsense costs it its ring, and nobody else anything.
#[test]
fn a_ring_that_makes_no_sense_is_served_no_more_and_the_others_are() {
    let broken = |breaks: fn(&mut Machine)| {
        local(async move {
            let disk = Rc::new(Memory::new(MIB));
            let mut machine = Machine::up(&Board::new(), &disk, 2).await;
            breaks(&mut machine);
            machine.kick(1);
            while machine.told.borrow().is_empty() {
                yield_now().await;
            }
            assert!(matches!(machine.told.borrow()[0], Told::Broken { queue: 1, .. }));
            assert_eq!(machine.done(IN, 0, Data::In(512)).await, 0);
            // Whoever resets it finds it stopped.
            let state = machine.get(11, &words(&[1, 0]), &[]).await.0;
            assert_eq!(state[..4], words(&[1]));
            assert_eq!(disk.buffers_out(), 0);
        });
    };
    broken(|machine| machine.claim(1, 65));
    broken(|machine| machine.post(1, 64));
    // A circle.
    broken(|machine| {
        let head = machine.offer(1, &[(DATA, 16, NEXT)]);
        assert_eq!(head, 0);
        let table = DATA - (1 << 20) + (1 << 16) + 0x1000;
        machine.board.memory.write(table, &descriptor(DATA, 16, NEXT, 0)).unwrap();
    });
    // No place for the status; an address that nobody has; a table in a table; a table of half a descriptor.
    broken(|machine| _ = machine.offer(1, &[(DATA, 16, 0)]));
    broken(|machine| _ = machine.offer(1, &[(12, 16, 0), (DATA, 1, WRITE)]));
    broken(|machine| {
        let inner = descriptor(DATA, 16, INDIRECT, 0);
        machine.board.memory.write(DATA + 64, &inner).unwrap();
        machine.offer(1, &[(DATA + 64, 16, INDIRECT)]);
    });
    broken(|machine| _ = machine.offer(1, &[(DATA, 24, INDIRECT)]));
    // The same head twice.
    broken(|machine| {
        machine.ask(1, 77, 0, DATA, Data::In(0));
        machine.offer(1, &[(DATA, 1, WRITE), (DATA, 16, 0)]);
    });
}

/// Data outside of the guest's memory fails the request and not the ring.
#[test]
fn data_that_is_nowhere_fails_its_request() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        let mut machine = Machine::up(&Board::new(), &disk, 1).await;
        for kind in [IN, OUT] {
            machine.board.memory.write(DATA, &kind.to_le_bytes()).unwrap();
            machine.board.memory.write(DATA + 4, &[0; 12]).unwrap();
            let flags = if kind == IN { WRITE } else { 0 };
            machine.offer(0, &[(DATA, 16, 0), (u64::MAX - 100, 512, flags), (DATA + 16, 1, WRITE)]);
            machine.kick(0);
            assert_eq!(machine.wait_used(0, 1).await[0].1, 1);
            assert_eq!(machine.status(DATA), 1);
        }
        assert_eq!(disk.buffers_out(), 0);
    });
}

/// [CONN-5] Whoever closes waits for what was taken.
#[test]
fn a_closed_disk_answers_what_it_took_and_takes_nothing_more() {
    local(async {
        let (disk, mut machine) = held(&Board::new(), Identity::default()).await;
        machine.closer.close();
        a_while().await;
        machine.ask(0, OUT, 1, DATA + 4096, Data::Out(&[1; 512]));
        machine.kick(0);
        assert!(!machine.task.is_finished());
        disk.release();
        assert_eq!(machine.wait_used(0, 1).await.len(), 1);
        assert!((&mut machine.task).await.unwrap().is_ok());
        assert_eq!(disk.ops.borrow().len(), 1);
    });
}

/// A guest that is told sees the new size, and may use it.
#[test]
fn a_disk_that_grows_tells_its_monitor() {
    local(async {
        let disk = Rc::new(Memory::new(2 * MIB));
        disk.size.set(Some(MIB));
        let identity = Identity::default();
        let mut machine = Machine::connect(&Board::new(), &disk, identity.clone());
        machine.begin(FEATURES, 1).await;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        machine.say(21, &[], &[std::os::fd::AsFd::as_fd(&theirs)]).await;
        assert_eq!(machine.done(IN, 2048, Data::In(512)).await, 1);
        disk.size.set(Some(2 * MIB));
        identity.grown.notify_waiters();
        ours.set_nonblocking(true).unwrap();
        let mut heard = [0; 12];
        while std::io::Read::read(&mut &ours, &mut heard).is_err() {
            yield_now().await;
        }
        assert_eq!(heard[..], words(&[2, 1, 0]));
        let config = machine.get(24, &[words(&[0, 8, 0]), vec![0; 8]].concat(), &[]).await.0;
        assert_eq!(config[12..], (2 * MIB / 512).to_le_bytes());
        assert_eq!(machine.done(IN, 2048, Data::In(512)).await, 0);
    });
}

/// The whole of it, byte for byte, as a driver reads it.
#[test]
fn the_configuration_is_that_of_virtio_blk() {
    local(async {
        let disk = Rc::new(Memory::new(MIB));
        let mut machine = Machine::connect(&Board::new(), &disk, Identity::default());
        machine.introduce(FEATURES).await;
        let config = machine.get(24, &[words(&[0, 60, 0]), vec![0; 60]].concat(), &[]).await.0;
        let golden = [
            &2048u64.to_le_bytes()[..], // sectors
            &words(&[8192, 126, 0, 512]),
            &[3, 0, 8, 0, 0, 0, 0, 0], // topology
            &[1, 0, 128, 0],           // written back, queues
            &words(&[1 << 21, 1, 1, 1 << 21, 1, 1]),
        ];
        assert_eq!(config[12..], golden.concat());
    });
}
