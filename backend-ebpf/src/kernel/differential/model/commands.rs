//! What user space asks.

use electrode_ebpf_abi::{Command, NOBODY, Op, Opening, Seating, seat};
use electrode_transport::rules::{Acceptor, AckMode, ArmError, Proposal};
use electrode_transport::{Ballot, MemberIndex, Slot, Time};

use super::ingress::is_known;
use super::{Group, Model, Order, idle};

impl Model {
    pub(super) fn obey(&mut self, order: &Order) -> u32 {
        match order {
            Order::Open(place, opening) => self.open(*place, opening),
            Order::Seat(place, seating) => {
                reseat(&mut self.groups[*place as usize], seating, true);
                1
            }
            Order::Close(place) => self.close(*place),
            Order::Offer(command, body) => {
                let proposal = Proposal {
                    ballot: Ballot(command.ballot),
                    sender: MemberIndex(command.member as u8),
                    first: Slot(command.first),
                    last: Slot(command.last),
                    commit: Slot(command.commit),
                };
                let is_reserved = self.reserve(body.0.len() as u64);
                let now = Time(command.now);
                self.offer(command.place, &proposal, &body.0, now, is_reserved) as u32
            }
            Order::Plain(op, command) => {
                let group = &mut self.groups[command.place as usize];
                if matches!(op, Op::Fence | Op::Arm | Op::Acknowledge | Op::Probe) {
                    follow(group, *op, command)
                } else {
                    lead(group, *op, command)
                }
            }
        }
    }

    fn open(&mut self, place: u32, opening: &Opening) -> u32 {
        let group = &mut self.groups[place as usize];
        let is_received = opening.mode == AckMode::Received as u32;
        let mode = if is_received { AckMode::Received } else { AckMode::Persisted };
        *group = Group {
            id: opening.id,
            is_open: true,
            acceptor: Acceptor::new(mode),
            log_limit: opening.log_limit,
            ..Group::closed([0; 2])
        };
        reseat(group, &opening.seating, false);
        self.ids.insert(opening.id, place);
        1
    }

    fn close(&mut self, place: u32) -> u32 {
        let group = &mut self.groups[place as usize];
        group.is_open = false;
        group.acceptor = Acceptor::new(AckMode::Persisted);
        group.tally = idle();
        if self.ids.get(&group.id) == Some(&place) {
            self.ids.remove(&group.id);
        }
        1
    }
}

fn reseat(group: &mut Group, seating: &Seating, has_tally: bool) {
    group.peers = seating.peers;
    group.carrier = seating.carrier;
    group.copies = seating.copies;
    if seating.change & seat::MEMBERSHIP != 0 {
        group.gate = seating.gate;
        group.voters = seating.voters;
    }
    if seating.change & seat::LEADER != 0 {
        let is_somebody = seating.leader != NOBODY;
        group.acceptor.reseat(is_somebody.then_some(MemberIndex(seating.leader)));
    }
    if has_tally && seating.change & seat::TALLY != 0 {
        let gate = seating.gate;
        group.tally.reseat(seating.voters, gate.members, gate.own);
        group.next = [0; 32];
    }
}

fn follow(group: &mut Group, op: Op, command: &Command) -> u32 {
    let (ballot, now) = (Ballot(command.ballot), Time(command.now));
    let member = MemberIndex(command.member as u8);
    let acceptor = &mut group.acceptor;
    acceptor.renew(Time(group.lease));
    if !group.is_open {
        return 0;
    }
    match op {
        Op::Fence => 2 - u32::from(acceptor.raise_fence(ballot)),
        Op::Arm => code(acceptor.arm(ballot, member, Slot(command.first), now)),
        Op::Acknowledge => code(acceptor.acknowledge(ballot, Slot(command.last))),
        _ => acceptor.probe(ballot, member, Slot(command.commit), now) as u32,
    }
}

fn code(result: Result<(), ArmError>) -> u32 {
    result.map_or_else(|error| 2 + error as u32, |()| 1)
}

fn lead(group: &mut Group, op: Op, command: &Command) -> u32 {
    let (ballot, last) = (Ballot(command.ballot), Slot(command.last));
    let member = MemberIndex(command.member as u8);
    if !group.is_open {
        return 0;
    }
    let tally = &mut group.tally;
    match op {
        Op::Lead => {
            let (members, own) = (group.gate.members, group.gate.own);
            tally.begin(ballot, last, group.voters, members, own);
            group.next = [0; 32];
        }
        Op::Resign => {
            *tally = idle();
            group.next = [0; 32];
        }
        Op::Sending => {
            tally.arm(last);
            if command.first != 0 {
                tally.ack(ballot, group.gate.own, last);
            }
        }
        Op::Count => {
            let verdict = tally.ack(ballot, member, last);
            if is_known(verdict) && command.first != 0 {
                group.next[usize::from(member.0)] = command.first;
            }
            return verdict as u32;
        }
        Op::CountProbe => return tally.probe_ack(ballot, member, last.0) as u32,
        Op::StartProbe => {
            tally.start_probe();
        }
        _ => return 0,
    }
    1
}
