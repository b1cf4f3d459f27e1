//! What must hold in every state.

use super::setup::Setup;
use super::state::State;
use lull_proto::initiator::Phase;

/// Looks at a state as a whole.
pub fn look(setup: &Setup, state: &mut State) {
    let sectors = || state.owner.media.iter().flat_map(|medium| &medium.sectors);
    if sectors().any(|sector| sector.stable < sector.flushed) {
        state.found("SAFE-1", "what was flushed is not on the medium");
        return;
    }
    for at in 0..state.nodes.len() {
        let resource = usize::from(setup.nodes[at].0);
        let medium = &state.owner.media[resource];
        if serves(state, at) && medium.sectors.iter().any(|one| one.content < one.told[at]) {
            state.found("SAFE-2", "what was acknowledged is not read while its initiator shares");
            return;
        }
    }
}

/// Whether what a node's consumers would read now is what the medium holds.
fn serves(state: &State, at: usize) -> bool {
    let shares = |node: &super::state::Node| {
        node.machine.as_ref().is_some_and(|machine| machine.phase() == Phase::Sharing)
    };
    let Some(daemon) = state.owner.daemon.as_ref().filter(|_| shares(&state.nodes[at])) else {
        return false;
    };
    let mut wires = state.wires.iter();
    wires.any(|wire| {
        let lane = daemon.lanes.get(&wire.at_target);
        wire.node == at
            && wire.node_open
            && wire.target_open
            && !wire.dead
            && lane.is_some_and(|lane| !lane.closing && !lane.muted)
    })
}

/// Whether everybody shares and every consumer is answered; of several who want one resource, one of them.
pub fn is_sharing(setup: &Setup, state: &State) -> bool {
    let Some(daemon) = &state.owner.daemon else { return false };
    let is_done = |at: usize| {
        let node = &state.nodes[at];
        let phase = node.machine.as_ref().map(lull_proto::initiator::Initiator::phase);
        phase == Some(Phase::Sharing)
            && node.slots.is_empty()
            && node.asked == setup.nodes[at].1.len()
    };
    let mut resources = 0..setup.resources();
    let all = resources.all(|resource| {
        let users = || (0..state.nodes.len()).filter(|at| setup.nodes[*at].0 == resource);
        users().any(is_done)
            && users().all(|at| {
                let phase = state.nodes[at].machine.as_ref().map(|one| one.phase());
                is_done(at) || (users().count() > 1 && phase != Some(Phase::Sharing))
            })
    });
    all && daemon.machine.is_serving()
}
