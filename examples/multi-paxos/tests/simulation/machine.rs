//! The replicated registers, which also note every command that they are given twice.

use std::collections::{BTreeMap, BTreeSet};

use electrode_multi_paxos::StateMachine;

/// A command as clients send it; `id` is unique in its run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    pub(crate) id: u64,
    pub(crate) key: u8,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Put(u64),
    Cas {
        expect: u64,
        new: u64,
    },
    /// A read that goes through the log.
    Get,
}

impl Command {
    /// Its bytes, with as many more as `padding` says.
    pub(crate) fn encode(&self, padding: usize) -> Vec<u8> {
        let (tag, one, two) = match self.kind {
            Kind::Put(value) => (1, value, 0),
            Kind::Cas { expect, new } => (2, expect, new),
            Kind::Get => (3, 0, 0),
        };
        let mut bytes = vec![tag, self.key];
        for word in [self.id, one, two] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(bytes.len() + padding, 0xee);
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let word = |index: usize| word_at(&bytes[2 + 8 * index..]);
        let kind = match bytes[0] {
            1 => Kind::Put(word(1)),
            2 => Kind::Cas { expect: word(1), new: word(2) },
            _ => Kind::Get,
        };
        Self { id: word(0), key: bytes[1], kind }
    }
}

pub(crate) fn word_at(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// An answer: whether a swap took place, and the value.
pub(crate) fn answer(bytes: &[u8]) -> (bool, u64) {
    (bytes[0] == 1, word_at(&bytes[1..]))
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Registers {
    values: BTreeMap<u8, u64>,
    executed: BTreeSet<u64>,
    /// Commands that were executed more than once.
    pub(crate) repeated: Vec<u64>,
}

impl Registers {
    fn value(&self, key: u8) -> u64 {
        self.values.get(&key).copied().unwrap_or_default()
    }
}

fn answer_bytes(flag: bool, value: u64) -> Vec<u8> {
    let mut bytes = vec![flag.into()];
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes
}

impl StateMachine for Registers {
    fn apply(&mut self, command: &[u8]) -> Vec<u8> {
        let Command { id, key, kind } = Command::decode(command);
        if !self.executed.insert(id) {
            self.repeated.push(id);
        }
        match kind {
            Kind::Put(value) => {
                self.values.insert(key, value);
                answer_bytes(true, value)
            }
            Kind::Cas { expect, new } => {
                let swapped = self.value(key) == expect;
                if swapped {
                    self.values.insert(key, new);
                }
                answer_bytes(swapped, self.value(key))
            }
            Kind::Get => answer_bytes(true, self.value(key)),
        }
    }

    fn query(&self, query: &[u8]) -> Vec<u8> {
        answer_bytes(true, self.value(query[0]))
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut words = vec![self.values.len() as u64, self.repeated.len() as u64];
        words.extend(self.values.iter().flat_map(|(&key, &value)| [u64::from(key), value]));
        words.extend(&self.repeated);
        words.extend(&self.executed);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let words: Vec<u64> = state.chunks(8).map(word_at).collect();
        let [values, repeated, rest @ ..] = words.as_slice() else {
            return Err("too short".to_owned());
        };
        let (pairs, rest) = rest.split_at(2 * *values as usize);
        let (repeated, executed) = rest.split_at(*repeated as usize);
        *self = Self {
            values: pairs.chunks(2).map(|pair| (pair[0] as u8, pair[1])).collect(),
            executed: executed.iter().copied().collect(),
            repeated: repeated.to_vec(),
        };
        Ok(())
    }
}
