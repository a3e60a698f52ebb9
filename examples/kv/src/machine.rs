//! The state machine: an ordered map in memory.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::ops::Bound;

use electrode_multi_paxos::StateMachine;
use siphasher::sip::SipHasher13;

use crate::codec::{Decoder, Encoder, Malformed};
use crate::command::{Answer, Command, Query, Stored, Summary};

/// A page of a scan stops at about this many bytes, well below a client frame.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// The replicated map.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct KvMachine {
    entries: BTreeMap<Vec<u8>, Stored>,
    writes: u64,
}

impl KvMachine {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Answer {
        let stored = self.entries.entry(key).or_default();
        stored.value = value;
        stored.version += 1;
        self.writes += 1;
        Answer::Written { version: stored.version }
    }

    fn execute(&mut self, command: Command) -> Answer {
        match command {
            Command::Put { key, value } => self.put(key, value),
            Command::Cas { key, expected, value } => {
                let found = self.entries.get(&key).map(|stored| &stored.value);
                if found == expected.as_ref() {
                    self.put(key, value)
                } else {
                    Answer::Mismatch { found: found.cloned() }
                }
            }
            Command::Delete { key } => {
                let existed = self.entries.remove(&key).is_some();
                self.writes += u64::from(existed);
                Answer::Deleted { existed }
            }
        }
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, rows_max: u32) -> Answer {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, stored) in self.entries.range::<[u8], _>((start, Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            if rows.len() >= rows_max.max(1) as usize || bytes >= PAGE_BYTES_MAX {
                return Answer::Page { rows, more: true };
            }
            bytes += key.len() + stored.value.len();
            rows.push((key.clone(), stored.clone()));
        }
        Answer::Page { rows, more: false }
    }

    fn summary(&self) -> Summary {
        let mut hasher = SipHasher13::new();
        hasher.write(&self.snapshot());
        Summary { keys: self.entries.len() as u64, writes: self.writes, digest: hasher.finish() }
    }

    fn decode(state: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(state);
        let mut machine = Self { writes: from.u64()?, entries: BTreeMap::new() };
        for _ in 0..from.u64()? {
            let key = from.bytes()?.to_vec();
            let stored = Stored { value: from.bytes()?.to_vec(), version: from.u64()? };
            machine.entries.insert(key, stored);
        }
        from.finish()?;
        Ok(machine)
    }
}

impl StateMachine for KvMachine {
    fn apply(&mut self, command: &[u8]) -> Vec<u8> {
        let answer = match Command::decode(command) {
            Ok(command) => self.execute(command),
            Err(_) => Answer::Malformed,
        };
        answer.encode()
    }

    fn query(&self, query: &[u8]) -> Vec<u8> {
        let answer = match Query::decode(query) {
            Ok(Query::Get { key }) => Answer::Value(self.entries.get(&key).cloned()),
            Ok(Query::Scan { prefix, after, rows_max }) => {
                self.scan(&prefix, after.as_deref(), rows_max)
            }
            Ok(Query::Summary) => Answer::Summary(self.summary()),
            Err(_) => Answer::Malformed,
        };
        answer.encode()
    }

    fn snapshot(&self) -> Vec<u8> {
        let head = Encoder::default().u64(self.writes).u64(self.entries.len() as u64);
        self.entries
            .iter()
            .fold(head, |state, (key, stored)| {
                state.bytes(key).bytes(&stored.value).u64(stored.version)
            })
            .finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        *self = Self::decode(state).map_err(|error| error.to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(machine: &mut KvMachine, key: &str, value: &str) -> Answer {
        let command = Command::Put { key: key.into(), value: value.into() };
        Answer::decode(&machine.apply(&command.encode())).unwrap()
    }

    fn ask(machine: &KvMachine, query: Query) -> Answer {
        Answer::decode(&machine.query(&query.encode())).unwrap()
    }

    #[test]
    fn versions_count_the_writes_of_a_key() {
        let mut machine = KvMachine::default();
        assert_eq!(put(&mut machine, "a", "1"), Answer::Written { version: 1 });
        assert_eq!(put(&mut machine, "a", "1"), Answer::Written { version: 2 });
        let stored = Stored { value: b"1".to_vec(), version: 2 };
        assert_eq!(ask(&machine, Query::Get { key: b"a".to_vec() }), Answer::Value(Some(stored)));
        assert_eq!(
            machine.execute(Command::Delete { key: b"a".to_vec() }),
            Answer::Deleted { existed: true }
        );
        assert_eq!(put(&mut machine, "a", "1"), Answer::Written { version: 1 });
    }

    #[test]
    fn compare_and_set_changes_only_what_was_expected() {
        let mut machine = KvMachine::default();
        let cas = |expected: Option<&str>, value: &str| Command::Cas {
            key: b"k".to_vec(),
            expected: expected.map(|text| text.as_bytes().to_vec()),
            value: value.as_bytes().to_vec(),
        };
        assert_eq!(machine.execute(cas(None, "1")), Answer::Written { version: 1 });
        assert_eq!(
            machine.execute(cas(None, "2")),
            Answer::Mismatch { found: Some(b"1".to_vec()) }
        );
        assert_eq!(machine.execute(cas(Some("1"), "2")), Answer::Written { version: 2 });
        assert_eq!(machine.summary().writes, 2);
    }

    #[test]
    fn scans_page_through_a_prefix_and_no_further() {
        let mut machine = KvMachine::default();
        for key in ["a", "p/1", "p/2", "p/3", "q"] {
            put(&mut machine, key, "v");
        }
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let query = Query::Scan { prefix: b"p/".to_vec(), after: after.clone(), rows_max: 2 };
            let Answer::Page { rows, more } = ask(&machine, query) else { panic!("not a page") };
            after = rows.last().map(|(key, _)| key.clone());
            seen.extend(rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()));
            if !more {
                break;
            }
        }
        assert_eq!(seen, ["p/1", "p/2", "p/3"]);
    }

    #[test]
    fn a_restored_snapshot_is_the_same_state_and_a_bad_one_changes_nothing() {
        let mut machine = KvMachine::default();
        put(&mut machine, "a", "1");
        put(&mut machine, "b", "2");
        let state = machine.snapshot();
        let mut other = KvMachine::default();
        other.restore(&state).unwrap();
        assert_eq!(other, machine);
        assert_eq!(other.summary().digest, machine.summary().digest);
        assert!(other.restore(&state[..state.len() - 1]).is_err());
        assert_eq!(other, machine);
    }

    #[test]
    fn a_malformed_command_is_told_and_changes_nothing() {
        let mut machine = KvMachine::default();
        assert_eq!(Answer::decode(&machine.apply(b"\xffnonsense")), Ok(Answer::Malformed));
        assert_eq!(machine, KvMachine::default());
    }
}
