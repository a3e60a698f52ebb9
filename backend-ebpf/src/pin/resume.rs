//! A group goes on where an earlier process left it.

use std::sync::Arc;

use electrode_ebpf_abi::{Command, NOBODY, Op, RECORD_CHARGE, seat};
use electrode_transport::rules::{Acceptor, Gate};
use electrode_transport::{Ballot, GroupConfig, GroupId, Membership};

use super::found::{self, Found};
use super::shelf::Shelf;
use crate::error::EbpfError;
use crate::log::Log;
use crate::place::Place;
use crate::shared::{Shared, State};

/// How many charged bytes of the group may be unreleased: its log's, and a body of that size still fits.
pub(crate) const fn log_limit(config: &GroupConfig) -> u64 {
    config.log_bytes as u64 + RECORD_CHARGE
}

/// Opens the pinned group at a place. Fence, followed ballot and everything that was accepted are as they
/// were; the kernel may even be accepting meanwhile. What was led is led no more: its window has gone
/// with the process that had it.
///
/// A newer membership than the pinned one comes into force; whom the group follows stays followed if
/// it is still a member.
///
/// # Errors
/// [`EbpfError::PinnedGroupDiffers`]: nothing has changed then.
pub(crate) fn resume(
    shared: &Arc<Shared>,
    state: &mut State,
    at: u32,
    config: &GroupConfig,
    gate: Gate,
    hops: impl FnOnce(&mut Place),
) -> Result<(), EbpfError> {
    let boards = &shared.kernel.boards;
    let found = found::group(&shared.kernel.ebpf, at)?;
    let acceptor = Acceptor::from_words(boards.acceptor(at));
    let Some(dormant) = state.dormant.get(&at) else { return Ok(()) };
    check(config, gate, &found, &acceptor, &dormant.shelf)?;
    let Some(dormant) = state.dormant.remove(&at) else { return Ok(()) };
    let shelf = dormant.shelf;
    shelf.note_led(Ballot(boards.led(at)));
    let (old, new) = (found.gate.incarnation, config.membership.incarnation());
    let leader = shelf.member(old, acceptor.leader().0.into());
    let leader = leader.and_then(|leader| config.membership.index_of(leader));
    if new > old {
        shelf.note_roster(&config.membership, Some(old));
    }
    boards.set_released(at, shelf.released());
    let membership = config.membership.clone();
    let mut place = Place::new(config.group, config.mode, gate, membership, Log::Pinned(shelf));
    hops(&mut place);
    place.choose_carrier();
    let mut change = 0;
    if new > old {
        change |= seat::MEMBERSHIP;
        if acceptor.ballot() != Ballot::NONE {
            change |= seat::LEADER;
        }
    }
    shared.command(Op::Resign, Command { place: at, ..Command::default() });
    let seating = place.seating(change, leader.map_or(NOBODY, |leader| leader.0));
    shared.insist(|| shared.kernel.seat(at, &seating));
    shared.briefing.follow(at, &place);
    state.seat(at, place);
    Ok(())
}

/// As [`EbpfEndpoint::discard`](crate::EbpfEndpoint::discard).
pub(crate) fn discard(shared: &Shared, group: GroupId) -> Result<bool, EbpfError> {
    let mut state = shared.state();
    let Some(place) = state.dormant_place(group) else { return Ok(false) };
    shared.kernel.close_group(place)?;
    state.dormant.remove(&place);
    if let Some(pins) = &shared.kernel.pins {
        pins.remove_shelf(place);
    }
    Ok(true)
}

fn check(
    config: &GroupConfig,
    gate: Gate,
    found: &Found,
    acceptor: &Acceptor,
    shelf: &Shelf,
) -> Result<(), EbpfError> {
    let differs = |what, pinned: String, wanted: String| {
        Err(EbpfError::PinnedGroupDiffers { group: config.group, what, pinned, wanted })
    };
    let (mode, limit) = (acceptor.mode(), log_limit(config));
    if mode != config.mode {
        return differs("the mode", format!("{mode:?}"), format!("{:?}", config.mode));
    }
    if shelf.limit() != limit {
        let [pinned, wanted] = [shelf.limit(), limit].map(|limit| limit - RECORD_CHARGE);
        return differs("a log (`log_bytes`) of", pinned.to_string(), wanted.to_string());
    }
    let (old, new) = (found.gate.incarnation, config.membership.incarnation());
    if new < old {
        return differs("the newer incarnation", old.0.to_string(), new.0.to_string());
    }
    if new > old {
        return Ok(());
    }
    let wanted = Place::new(
        config.group,
        config.mode,
        gate,
        config.membership.clone(),
        Log::Own(crate::log::Merged::new(0)),
    )
    .seating(0, NOBODY);
    if found.gate != gate || !found.has_seats_of(&wanted) || !is_roster(shelf, &config.membership) {
        let same = "which has the same incarnation".to_owned();
        return differs("other members at incarnation", old.0.to_string(), same);
    }
    Ok(())
}

/// Whether the members' names are as they are noted.
fn is_roster(shelf: &Shelf, membership: &Membership) -> bool {
    let incarnation = membership.incarnation();
    let mut members = membership.members().iter().enumerate();
    members.all(|(index, member)| shelf.member(incarnation, index).is_none_or(|id| id == member.id))
}
