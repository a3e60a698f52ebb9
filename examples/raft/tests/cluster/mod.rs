//! What the tests share: a state machine that remembers, and the check of all nodes against it.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]

use std::collections::BTreeMap;

use electrode_example_raft::StateMachine;

/// Remembers every command with its index.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Journal {
    pub applied: Vec<(u64, Vec<u8>)>,
    pub restored: usize,
}

impl StateMachine for Journal {
    fn apply(&mut self, index: u64, command: &[u8]) {
        assert!(self.applied.last().is_none_or(|(last, _)| *last < index), "{index} in order");
        self.applied.push((index, command.to_vec()));
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, command) in &self.applied {
            bytes.extend_from_slice(&index.to_le_bytes());
            bytes.extend_from_slice(&(command.len() as u32).to_le_bytes());
            bytes.extend_from_slice(command);
        }
        bytes
    }

    fn restore(&mut self, mut state: &[u8]) {
        self.applied.clear();
        self.restored += 1;
        while let Some((index, rest)) = state.split_first_chunk() {
            let (len, rest) = rest.split_first_chunk().expect("a length");
            let (command, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
            self.applied.push((u64::from_le_bytes(*index), command.to_vec()));
            state = rest;
        }
    }
}

/// State machine safety: what any node ever applied at an index, every node applies there.
#[derive(Default)]
pub struct Agreed {
    pub log: BTreeMap<u64, Vec<u8>>,
}

impl Agreed {
    /// Checks a node's journal from `checked` on, returns how much of it is checked now.
    pub fn check(&mut self, journal: &Journal, checked: usize) -> usize {
        for (index, command) in &journal.applied[checked..] {
            let known = self.log.entry(*index).or_insert_with(|| command.clone());
            assert_eq!(known, command, "two nodes applied different commands at {index}");
        }
        journal.applied.len()
    }

    pub fn contains(&self, command: &[u8]) -> bool {
        self.log.values().any(|known| known == command)
    }
}
