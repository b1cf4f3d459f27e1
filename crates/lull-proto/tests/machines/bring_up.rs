//! From nothing to sharing.

use crate::pair::{Pair, Seen};
use lull_proto::initiator::Phase;
use lull_proto::target::Change;
use lull_wire::Kind;

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
