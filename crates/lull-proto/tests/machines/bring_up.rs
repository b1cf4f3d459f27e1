//! From nothing to sharing.

use crate::alone::{Alone, attached, connect, resume, welcome};
use crate::pair::{BLOCK, Pair, Seen};
use lull_proto::initiator::{Phase, Report};
use lull_proto::target::Change;
use lull_wire::messages::Attached;
use lull_wire::{Features, Incarnation, Kind, OpCode};

/// [RESUME-1] Everything of the one road happens once, in its order.
#[test]
fn the_first_attach_takes_the_road() {
    let mut pair = Pair::sharing(1);
    assert_eq!(pair.phase(0), Phase::Sharing);
    let kinds: Vec<Kind> = pair
        .trace
        .iter()
        .filter_map(|seen| match seen {
            Seen::Up(_, kind) | Seen::Down(_, kind) => Some(*kind),
            Seen::Asked(..)
            | Seen::Committed(_)
            | Seen::StartWriteBack
            | Seen::MakeDurable
            | Seen::StopAccepting
            | Seen::Replayed(..)
            | Seen::Renewed(_)
            | Seen::Gone => None,
        })
        .collect();
    use Kind::{Attach, Attached, Connect, Hello, Ready, Resume, Welcome};
    assert_eq!(kinds, [Hello, Welcome, Connect, Attach, Attached, Ready, Resume]);
    // [PAUSE-5] Owner and epoch are stored before ATTACHED.
    let owner = pair.first(|seen| matches!(seen, Seen::Committed(Change::Owner(..))));
    assert!(owner < pair.first(|seen| *seen == Seen::Down(0, Attached)));
    pair.finish();
}

/// [CONN-3] Requests of three nodes flow and each is answered once.
#[test]
fn requests_flow() {
    let mut pair = Pair::sharing(3);
    pair.load_all(8);
    pair.run(std::time::Duration::from_secs(1));
    pair.finish();
    for node in &pair.nodes {
        assert!(node.answers.len() > 1000, "{}", node.answers.len());
        assert_eq!(node.errors(), 0);
    }
}

/// A write and a read are unanswered, and the target is back; `offer` comes as ATTACHED.
fn comes_back_to(offer: Attached) -> Alone {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    alone.submit(OpCode::Read, 2);
    alone.lose();
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.actions.clear();
    alone.receive(offer.into());
    alone
}

fn ops(alone: &Alone) -> Vec<OpCode> {
    alone.transmitted().iter().map(|request| request.op).collect()
}

/// [RESUME-3] The initiator decides by the incarnation what it sends again before READY: changes in another one,
/// nothing in the same.
#[test]
fn the_incarnation_decides_what_is_sent_again_before_ready() {
    let mut same = comes_back_to(attached(2));
    assert_eq!((ops(&same), same.sent(Kind::Ready).len()), (vec![], 1));
    same.receive(resume(0));
    assert_eq!(ops(&same), [OpCode::Write, OpCode::Read]);
    let other = comes_back_to(Attached { incarnation: Incarnation([8; 16]), ..attached(2) });
    assert_eq!((ops(&other), other.sent(Kind::Ready).len()), (vec![OpCode::Write], 0));
}

/// [CONN-7] Nothing goes to a resource that offers less than consumers were told; more is welcome.
#[test]
fn an_offer_of_less_is_not_used() {
    let told = attached(2);
    let less = [
        Attached { size: told.size - BLOCK, ..told.clone() },
        Attached { block: told.block * 2, ..told.clone() },
        Attached { max_length: told.max_length / 2, ..told.clone() },
        Attached { features: Features::READ_ONLY, ..told.clone() },
    ];
    for offer in less {
        let alone = comes_back_to(offer.clone());
        assert!(alone.reported(|report| matches!(report, Report::Unusable)), "{offer:?}");
        assert!(alone.transmitted().is_empty());
        assert_eq!(alone.machine.phase(), Phase::Away);
    }
    let more = Attached { size: told.size * 2, features: Features::DISCARD, ..told };
    assert_eq!(comes_back_to(more).machine.phase(), Phase::Ready);
}
