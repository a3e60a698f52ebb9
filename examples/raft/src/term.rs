//! What raft will do to its term. A node must fence a term before raft takes it up, because raft
//! decides on a vote, or begins to campaign, in the very call that raises the term, and by then every
//! entry that the transport has accepted below it must be in raft's log.
//!
//! [`raise_by_message`] follows `Raft::step` of raft 0.7 case by case, and a test compares the two.
//! Fencing a term that raft then refuses would be safe but not free: the fence cuts this node off
//! from the leader it follows. So the cases in which raft ignores a higher term (leader stickiness
//! under CheckQuorum, PreVote) are told apart exactly.

use raft::eraftpb::{Message, MessageType};
use raft::{CAMPAIGN_TRANSFER, INVALID_ID, Raft, StateRole, Storage, majority};

/// Why and to what raft is about to raise its term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Raise {
    /// It learns of somebody else's term.
    Adopts(u64),
    /// It campaigns at a term of its own.
    Campaigns(u64),
}

/// What stepping `message` will do.
pub(crate) fn raise_by_message<S: Storage>(raft: &Raft<S>, message: &Message) -> Option<Raise> {
    let kind = message.get_msg_type();
    let is_granted_prevote = kind == MessageType::MsgRequestPreVoteResponse && !message.reject;
    if message.term > raft.term && kind != MessageType::MsgRequestPreVote && !is_granted_prevote {
        let ignored = kind == MessageType::MsgRequestVote && sticks_to_leader(raft, message);
        return (!ignored).then_some(Raise::Adopts(message.term));
    }
    let is_current = message.term == 0 || message.term >= raft.term;
    let campaigns = match (kind, raft.state) {
        (MessageType::MsgTimeoutNow, StateRole::Follower) => is_current && raft.promotable(),
        (MessageType::MsgRequestPreVoteResponse, StateRole::PreCandidate) => {
            is_current && is_granted_prevote && wins_with(raft, message.from)
        }
        _ => false,
    };
    campaigns.then_some(Raise::Campaigns(raft.term + 1))
}

/// What an election time-out now will do: with PreVote, only a lone voter campaigns at once.
pub(crate) fn raise_by_timeout<S: Storage>(raft: &Raft<S>) -> Option<Raise> {
    let campaigns = raft.state != StateRole::Leader
        && raft.promotable()
        && (!raft.pre_vote || raft.prs().is_singleton());
    campaigns.then_some(Raise::Campaigns(raft.term + 1))
}

/// Whether the next tick is an election time-out.
pub(crate) fn times_out_next<S: Storage>(raft: &Raft<S>) -> bool {
    raft.state != StateRole::Leader
        && raft.election_elapsed + 1 >= raft.randomized_election_timeout()
}

/// Raft section 6: a server that hears its leader ignores candidates, unless that leader sent them.
fn sticks_to_leader<S: Storage>(raft: &Raft<S>, message: &Message) -> bool {
    let is_transfer = message.context[..] == *CAMPAIGN_TRANSFER;
    raft.check_quorum
        && raft.leader_id != INVALID_ID
        && raft.election_elapsed < raft.election_timeout()
        && !is_transfer
}

/// Whether one more granted vote wins the election that runs here.
fn wins_with<S: Storage>(raft: &Raft<S>, voter: u64) -> bool {
    let mut tracker = raft.prs().clone();
    tracker.record_vote(voter, true);
    let voters = tracker.conf().voters().ids().iter().count();
    tracker.tally_votes().0 >= majority(voters)
}

/// A message that says nothing but a term: the answer to a pre-vote that nobody asked for.
pub(crate) fn notice(from: u64, to: u64, term: u64) -> Message {
    let mut notice = Message { from, to, term, reject: true, ..Message::default() };
    notice.set_msg_type(MessageType::MsgRequestPreVoteResponse);
    notice
}

#[cfg(test)]
mod tests {
    use raft::storage::MemStorage;
    use raft::{Config, RawNode};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const KINDS: [MessageType; 11] = [
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTimeoutNow,
        MessageType::MsgTransferLeader,
        MessageType::MsgReadIndex,
    ];

    fn node(dice: &mut ChaCha8Rng, voters: u64) -> RawNode<MemStorage> {
        let config = Config {
            id: 1,
            election_tick: 4,
            heartbeat_tick: 1,
            check_quorum: dice.random_bool(0.7),
            pre_vote: dice.random_bool(0.7),
            ..Config::default()
        };
        let voters: Vec<u64> = (1..=voters).collect();
        let log = MemStorage::new_with_conf_state((voters, Vec::new()));
        RawNode::new(&config, log, &slog::Logger::root(slog::Discard, slog::o!())).unwrap()
    }

    fn message(dice: &mut ChaCha8Rng, term: u64, voters: u64) -> Message {
        let mut message = Message {
            from: dice.random_range(2..=voters.max(2)),
            to: 1,
            term: (term + dice.random_range(0..4)).saturating_sub(1).max(1),
            reject: dice.random_bool(0.5),
            ..Message::default()
        };
        message.set_msg_type(KINDS[dice.random_range(0..KINDS.len())]);
        if matches!(
            message.get_msg_type(),
            MessageType::MsgTransferLeader | MessageType::MsgReadIndex
        ) {
            message.term = 0;
        }
        if dice.random_bool(0.2) {
            message.context = CAMPAIGN_TRANSFER.to_vec().into();
        }
        message
    }

    /// Raft stores and answers after each input, as in life.
    fn settle(node: &mut RawNode<MemStorage>) {
        while node.has_ready() {
            let ready = node.ready();
            node.mut_store().wl().append(ready.entries()).unwrap();
            if let Some(state) = ready.hs() {
                node.mut_store().wl().set_hardstate(state.clone());
            }
            let _ = node.advance(ready);
        }
    }

    #[test]
    fn every_raise_of_a_term_is_predicted() {
        let (mut adopted, mut campaigned, mut ignored) = (0, 0, 0);
        for seed in 0..400 {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let voters = dice.random_range(1..=5);
            let mut node = node(&mut dice, voters);
            for step in 0..200 {
                let before = node.raft.term;
                let predicted = if dice.random_bool(0.3) {
                    let times_out = times_out_next(&node.raft);
                    let raise = times_out.then(|| raise_by_timeout(&node.raft)).flatten();
                    node.tick();
                    raise
                } else {
                    let message = message(&mut dice, before, voters);
                    let raise = raise_by_message(&node.raft, &message);
                    if message.term > before && raise.is_none() {
                        ignored += 1;
                    }
                    // A delayed message of a member or a stranger: raft may refuse it.
                    let _ = node.raft.step(message);
                    raise
                };
                match predicted {
                    Some(Raise::Adopts(term)) => {
                        // A leader's hand-over can make raft campaign in the same call.
                        assert!(node.raft.term >= term, "seed {seed} step {step}: {predicted:?}");
                        adopted += 1;
                    }
                    Some(Raise::Campaigns(term)) => {
                        assert_eq!(node.raft.term, term, "seed {seed} step {step}: {predicted:?}");
                        campaigned += 1;
                    }
                    None => assert_eq!(node.raft.term, before, "seed {seed} step {step}: missed"),
                }
                settle(&mut node);
            }
        }
        assert!(adopted > 1_000 && campaigned > 1_000 && ignored > 1_000, "all kinds were met");
    }
}
