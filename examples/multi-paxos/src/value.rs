//! What a slot holds: a batch of commands, possibly none.

use crate::codec::{DecodeError, Decoded, Reader, put_bytes, put_u16, put_u64};
use crate::event::ClientId;

const VERSION: u8 = 1;
const HEAD_LEN: usize = 3;
const OPEN: u8 = 1;
const EXECUTE: u8 = 2;
/// What a request takes in a value beside its command.
const EXECUTE_OVERHEAD: usize = 21;
const OPEN_LEN: usize = 17;

/// One command of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Open a session, and tell whoever asked `origin` for it.
    Open {
        /// The replica that was asked.
        origin: u64,
        /// Its caller's tag.
        tag: u64,
    },
    /// Execute a client's command, unless it was executed before.
    Execute { client: ClientId, sequence: u64, command: Vec<u8> },
}

impl Command {
    /// The bytes that it takes in a value.
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Self::Open { .. } => OPEN_LEN,
            Self::Execute { command, .. } => EXECUTE_OVERHEAD + command.len(),
        }
    }
}

/// The longest command that fits a value of `value_len_max` bytes.
pub(crate) const fn command_len_max(value_len_max: usize) -> usize {
    value_len_max.saturating_sub(HEAD_LEN + EXECUTE_OVERHEAD)
}

/// A value under construction.
#[derive(Debug)]
pub(crate) struct ValueBuilder {
    bytes: Vec<u8>,
    count: u16,
}

impl ValueBuilder {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![VERSION, 0, 0], count: 0 }
    }

    pub(crate) fn has_room(&self, command: &Command, value_len_max: usize) -> bool {
        self.count < u16::MAX && self.bytes.len() + command.encoded_len() <= value_len_max
    }

    pub(crate) fn push(&mut self, command: &Command) {
        match command {
            Command::Open { origin, tag } => {
                self.bytes.push(OPEN);
                put_u64(&mut self.bytes, *origin);
                put_u64(&mut self.bytes, *tag);
            }
            Command::Execute { client, sequence, command } => {
                self.bytes.push(EXECUTE);
                put_u64(&mut self.bytes, client.0);
                put_u64(&mut self.bytes, *sequence);
                put_bytes(&mut self.bytes, command);
            }
        }
        self.count += 1;
    }

    /// The finished value; without commands it is a no-op.
    pub(crate) fn finish(self) -> Vec<u8> {
        let Self { mut bytes, count } = self;
        let mut head = Vec::with_capacity(2);
        put_u16(&mut head, count);
        bytes[1..HEAD_LEN].copy_from_slice(&head);
        bytes
    }
}

/// The value that does nothing: for holes, and for a new leader's first slot.
pub(crate) fn noop() -> Vec<u8> {
    ValueBuilder::new().finish()
}

/// Takes a value apart.
pub(crate) fn decode(value: &[u8]) -> Decoded<Vec<Command>> {
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let count = usize::from(reader.u16()?);
    if count * OPEN_LEN > reader.len() {
        return Err(DecodeError::Truncated);
    }
    let commands = (0..count)
        .map(|_| match reader.u8()? {
            OPEN => Ok(Command::Open { origin: reader.u64()?, tag: reader.u64()? }),
            EXECUTE => Ok(Command::Execute {
                client: ClientId(reader.u64()?),
                sequence: reader.u64()?,
                command: reader.bytes()?.to_vec(),
            }),
            found => Err(DecodeError::Kind { found }),
        })
        .collect::<Decoded<Vec<_>>>()?;
    reader.finish()?;
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![
            (any::<u64>(), any::<u64>()).prop_map(|(origin, tag)| Command::Open { origin, tag }),
            (any::<u64>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..50)).prop_map(
                |(client, sequence, command)| {
                    Command::Execute { client: ClientId(client), sequence, command }
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn a_batch_comes_out_as_it_went_in(
            commands in proptest::collection::vec(any_command(), 0..20)
        ) {
            let mut builder = ValueBuilder::new();
            let mut len = HEAD_LEN;
            for command in &commands {
                len += command.encoded_len();
                prop_assert!(builder.has_room(command, len) && !builder.has_room(command, len - 1));
                builder.push(command);
            }
            prop_assert_eq!(decode(&builder.finish()), Ok(commands));
        }

        #[test]
        fn any_bytes_decode_or_err(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
                let _ = decode(&bytes);
            }
        }
    }

    #[test]
    fn the_longest_command_just_fits() {
        let command = vec![0; command_len_max(100)];
        let command = Command::Execute { client: ClientId(1), sequence: 1, command };
        assert_eq!(HEAD_LEN + command.encoded_len(), 100);
        assert_eq!(decode(&noop()), Ok(Vec::new()));
    }
}
