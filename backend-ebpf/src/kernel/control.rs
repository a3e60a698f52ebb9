//! Commands: the programs' own rules, run on the programs' own state, at our request.

use aya::programs::{TestRun, TestRunOptions, Xdp};
use electrode_ebpf_abi::{Command, Op, Opening, Seating};

use super::load::{CONTROL, Kernel, SEAT};
use crate::error::EbpfError;

impl Kernel {
    /// Runs a command and gives its answer, see [`Op`].
    ///
    /// # Errors
    /// [`EbpfError::Command`] if the kernel did not run it: nothing has happened then.
    pub(crate) fn command(&self, op: Op, command: Command) -> Result<u32, EbpfError> {
        self.run(CONTROL, &bytes_of(op, &command))
    }

    /// Offers a frame that came as a datagram.
    pub(crate) fn offer(&self, command: Command, body: &[u8]) -> Result<u32, EbpfError> {
        let command = Command { len: body.len() as u32, ..command };
        let mut bytes = Vec::with_capacity(size_of::<Command>() + body.len());
        bytes.extend_from_slice(&bytes_of(Op::Offer, &command));
        bytes.extend_from_slice(body);
        self.run(CONTROL, &bytes)
    }

    /// Opens the group at `place`.
    pub(crate) fn open(&self, place: u32, opening: &Opening) -> Result<u32, EbpfError> {
        let mut bytes = bytes_of(Op::Open, &at(place)).to_vec();
        bytes.extend_from_slice(&opening.id.to_ne_bytes());
        bytes.extend_from_slice(&opening.mode.to_ne_bytes());
        bytes.extend_from_slice(&opening.log_limit.to_ne_bytes());
        push_seating(&mut bytes, &opening.seating);
        self.run(SEAT, &bytes)
    }

    /// Seats the group at `place` anew.
    pub(crate) fn seat(&self, place: u32, seating: &Seating) -> Result<u32, EbpfError> {
        let mut bytes = bytes_of(Op::Seat, &at(place)).to_vec();
        push_seating(&mut bytes, seating);
        self.run(SEAT, &bytes)
    }

    /// Closes the group at `place`.
    pub(crate) fn close_group(&self, place: u32) -> Result<u32, EbpfError> {
        self.run(SEAT, &bytes_of(Op::Close, &at(place)))
    }

    fn run(&self, name: &'static str, bytes: &[u8]) -> Result<u32, EbpfError> {
        let program = self.ebpf.program(name).ok_or(EbpfError::Foreign { name })?;
        let failed = |source| EbpfError::Command { source: Box::new(source) };
        let program: &Xdp = program.try_into().map_err(failed)?;
        let options = TestRunOptions { data_in: Some(bytes), ..TestRunOptions::new() };
        Ok(program.test_run(options).map_err(failed)?.return_value)
    }
}

fn at(place: u32) -> Command {
    Command { place, ..Command::default() }
}

/// The command as it lies in memory.
fn bytes_of(op: Op, command: &Command) -> [u8; size_of::<Command>()] {
    let mut bytes = [0; size_of::<Command>()];
    bytes[0..4].copy_from_slice(&(op as u32).to_ne_bytes());
    bytes[4..8].copy_from_slice(&command.place.to_ne_bytes());
    let words = [command.ballot, command.first, command.last, command.commit, command.now];
    for (index, word) in words.iter().enumerate() {
        bytes[8 + 8 * index..][..8].copy_from_slice(&word.to_ne_bytes());
    }
    bytes[48..52].copy_from_slice(&command.member.to_ne_bytes());
    bytes[52..56].copy_from_slice(&command.len.to_ne_bytes());
    bytes
}

fn push_seating(bytes: &mut Vec<u8>, seating: &Seating) {
    let gate = &seating.gate;
    bytes.extend_from_slice(&gate.cluster.0.to_ne_bytes());
    bytes.extend_from_slice(&gate.incarnation.0.to_ne_bytes());
    bytes.extend_from_slice(&[gate.own.0, gate.members, gate.keyed, gate.reserved]);
    for set in [&seating.voters.current, &seating.voters.joint] {
        bytes.extend_from_slice(&set.members.0.to_ne_bytes());
        bytes.extend_from_slice(&set.needed.to_ne_bytes());
    }
    bytes.extend_from_slice(&[seating.change, seating.leader, seating.carrier, seating.reserved]);
    bytes.extend_from_slice(&seating.copies.to_ne_bytes());
    for peer in &seating.peers {
        bytes.extend_from_slice(&peer.address);
        bytes.extend_from_slice(&peer.port);
        bytes.extend_from_slice(&peer.mac);
        bytes.push(peer.reachable);
        bytes.extend_from_slice(&peer.reserved);
    }
}
