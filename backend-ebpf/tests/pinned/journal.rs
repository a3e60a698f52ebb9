//! A library's log on disk, written without `fsync`: it outlives its process as the pins do.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use electrode_transport::{LogBatch, Slot};

const RECORD: usize = 40;

/// One thing written down: an entry, or with `body` zero that the log ends before `first` from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Line {
    life: u64,
    ballot: u64,
    first: u64,
    last: u64,
    body: u64,
}

/// The file, and what it says.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    life: u64,
    log: Log,
}

/// What a library knows after reading a journal: at which ballot each slot was stored.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    entries: Vec<(u64, u64)>,
    /// Entries that came again in a later life.
    pub(crate) repeats: u64,
    life: u64,
    last_in_life: u64,
}

impl Log {
    pub(crate) fn last(&self) -> Slot {
        Slot(self.entries.len() as u64)
    }

    pub(crate) fn ballot_of(&self, slot: u64) -> Option<u64> {
        self.entries.get(slot as usize - 1).map(|entry| entry.0)
    }

    /// Checks that the line fits what was there before.
    fn take(&mut self, line: &Line) -> Result<(), String> {
        let Line { life, ballot, first, last, body } = *line;
        if life != self.life {
            (self.life, self.last_in_life) = (life, 0);
        }
        if body == 0 {
            self.entries.truncate(first as usize - 1);
            self.last_in_life = 0;
            return Ok(());
        }
        if first <= self.last_in_life {
            return Err(format!("{line:?} comes twice in one life"));
        }
        self.last_in_life = last;
        let known = self.entries.len() as u64;
        if first > known + 1 || first != last {
            return Err(format!("{line:?} after {known} slots"));
        }
        if first <= known {
            self.repeats += 1;
            let there = self.entries[first as usize - 1];
            if there != (ballot, body) {
                return Err(format!("{line:?} instead of {there:?}"));
            }
            return Ok(());
        }
        self.entries.push((ballot, body));
        Ok(())
    }

    /// Reads a journal.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let mut log = Self::default();
        if let Ok(mut file) = File::open(path) {
            file.read_to_end(&mut bytes).unwrap();
        }
        // The last line may be cut off: its writer had not polled again.
        for record in bytes.as_chunks::<RECORD>().0 {
            let (words, _) = record.as_chunks::<8>();
            let [life, ballot, first, last, body] =
                std::array::from_fn(|index| u64::from_ne_bytes(words[index]));
            log.take(&Line { life, ballot, first, last, body })?;
        }
        Ok(log)
    }
}

impl Journal {
    pub(crate) fn open(path: &PathBuf, life: u64) -> Self {
        let log = Log::read(path).unwrap();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len - len % RECORD as u64).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        Self { file, life, log }
    }

    pub(crate) fn last(&self) -> Slot {
        self.log.last()
    }

    /// Stores a batch, in one write.
    pub(crate) fn store(&mut self, batch: &LogBatch) {
        let lines: Vec<Line> = batch
            .iter()
            .map(|entry| Line {
                life: self.life,
                ballot: entry.ballot.0,
                first: entry.first.0,
                last: entry.last.0,
                body: digest(entry.body),
            })
            .collect();
        self.write(&lines);
    }

    /// The log ends before `next` from here on.
    pub(crate) fn truncate(&mut self, next: Slot) {
        self.write(&[Line { life: self.life, ballot: 0, first: next.0, last: 0, body: 0 }]);
    }

    fn write(&mut self, lines: &[Line]) {
        let bytes: Vec<u8> = lines
            .iter()
            .flat_map(|line| [line.life, line.ballot, line.first, line.last, line.body])
            .flat_map(u64::to_ne_bytes)
            .collect();
        self.file.write_all(&bytes).unwrap();
        lines.iter().for_each(|line| self.log.take(line).unwrap());
    }
}

/// Tells bodies apart; never zero.
pub(crate) fn digest(body: &[u8]) -> u64 {
    let mix = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    body.iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1
}

/// What a leader sends in a slot.
pub(crate) fn body(ballot: u64, slot: u64) -> Vec<u8> {
    (0..slot * 37 % 700).map(|index| (index ^ slot ^ (ballot * 31)) as u8).collect()
}

impl Log {
    /// Whether everything is what its leader sent.
    pub(crate) fn check_bodies(&self) -> Result<(), String> {
        for (index, &(ballot, stored)) in self.entries.iter().enumerate() {
            let slot = index as u64 + 1;
            if stored != digest(&body(ballot, slot)) {
                return Err(format!("slot {slot} of ballot {ballot} is not what was sent"));
            }
        }
        Ok(())
    }
}
