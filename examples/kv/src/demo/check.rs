//! What must be in the store, and whether it is.

use std::collections::BTreeMap;

use crate::command::Stored;
use crate::records::Record;

/// What a key must hold after the file was loaded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Expected {
    /// Any of these: lines of one key are written in no particular order.
    values: Vec<Vec<u8>>,
    /// How many writes the key has had.
    version: u64,
}

/// What every key must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Expectation {
    keys: BTreeMap<Vec<u8>, Expected>,
}

/// How what was found differs from what was expected, in keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Verdict {
    /// Found as expected.
    pub(super) right: usize,
    /// Absent, or with fewer writes than were acknowledged.
    pub(super) lost: usize,
    /// With more writes than were made.
    pub(super) doubled: usize,
    /// With a value that nobody wrote last.
    pub(super) wrong: usize,
    /// Not in the file.
    pub(super) strange: usize,
}

impl Verdict {
    pub(super) const fn is_good(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong == 0 && self.strange == 0
    }
}

impl Expectation {
    /// Every record was written once more, and its value is the newest of its key.
    pub(super) fn load(&mut self, records: &[Record]) {
        for expected in self.keys.values_mut() {
            expected.values.clear();
        }
        for record in records {
            let expected = self.keys.entry(record.key.clone()).or_default();
            expected.values.push(record.value.clone());
            expected.version += 1;
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.keys.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Compares everything that was found, each key once.
    pub(super) fn check<'a>(
        &self,
        found: impl IntoIterator<Item = (&'a Vec<u8>, &'a Stored)>,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let mut seen = 0;
        for (key, stored) in found {
            let Some(expected) = self.keys.get(key) else {
                verdict.strange += 1;
                continue;
            };
            seen += 1;
            let count = match stored.version.cmp(&expected.version) {
                std::cmp::Ordering::Less => &mut verdict.lost,
                std::cmp::Ordering::Greater => &mut verdict.doubled,
                _ if !expected.values.contains(&stored.value) => &mut verdict.wrong,
                _ => &mut verdict.right,
            };
            *count += 1;
        }
        verdict.lost += self.keys.len() - seen;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Record {
        Record { key: key.into(), value: value.into() }
    }

    fn verdict(found: &[(&str, &str, u64)]) -> Verdict {
        let mut expected = Expectation::default();
        expected.load(&[record("a", "1"), record("b", "2")]);
        expected.load(&[record("a", "3"), record("b", "4")]);
        let found: Vec<(Vec<u8>, Stored)> = found
            .iter()
            .map(|&(key, value, version)| (key.into(), Stored { value: value.into(), version }))
            .collect();
        expected.check(found.iter().map(|(key, stored)| (key, stored)))
    }

    #[test]
    fn two_loads_leave_every_key_at_version_two() {
        let good = verdict(&[("a", "3", 2), ("b", "4", 2)]);
        assert_eq!(good, Verdict { right: 2, ..Verdict::default() });
        assert!(good.is_good());
    }

    #[test]
    fn each_fault_is_seen() {
        let one = |fault: Verdict| Verdict { right: 1, ..fault };
        let none = Verdict::default();
        for (found, expected) in [
            (&[("a", "3", 2)][..], Verdict { lost: 1, ..none }),
            (&[("a", "3", 2), ("b", "2", 1)], Verdict { lost: 1, ..none }),
            (&[("a", "3", 2), ("b", "4", 3)], Verdict { doubled: 1, ..none }),
            (&[("a", "3", 2), ("b", "2", 2)], Verdict { wrong: 1, ..none }),
        ] {
            assert_eq!(verdict(found), one(expected));
            assert!(!verdict(found).is_good());
        }
        let strange = verdict(&[("a", "3", 2), ("b", "4", 2), ("c", "5", 1)]);
        assert_eq!(strange, Verdict { right: 2, strange: 1, ..none });
    }

    #[test]
    fn a_key_that_occurs_twice_may_hold_either_value() {
        let mut expected = Expectation::default();
        expected.load(&[record("a", "1"), record("a", "2")]);
        for value in ["1", "2"] {
            let (key, stored) = (b"a".to_vec(), Stored { value: value.into(), version: 2 });
            assert!(expected.check([(&key, &stored)]).is_good());
        }
    }
}
