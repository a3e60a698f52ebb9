//! The anchor: the number of the newest commit that was reported durable.
//!
//! redb keeps the last two commits and, when the newest does not verify, goes back to the one
//! before. After a crash during a commit that is right; after bit rot it would silently lose what
//! was acknowledged. The anchor tells the two apart. It is written after each commit has become
//! durable and before the commit is reported, so it never runs ahead of a healthy log. It is not
//! flushed with every commit (the system does that in its own time, and closing does): a power
//! failure can leave it behind, which weakens the check for the last seconds and refuses nothing
//! good. A killed process leaves it exact.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::format::Seal;
use super::{corrupt, open};
use crate::store::StoreError;

/// Two places, written in turn, each in a sector of its own: a torn write spares the other.
const PLACES: u64 = 2;
const PLACE_LEN: u64 = 4096;
const RECORD_LEN: usize = 16;

pub(super) struct Anchor {
    file: File,
    path: PathBuf,
}

impl Anchor {
    /// Creates the anchor at `commit`, durably and all at once.
    pub(super) fn create(path: &Path, commit: u64) -> Result<Self, StoreError> {
        let fresh = path.with_extension("new");
        let fault = |error| open::io_fault(&fresh, "create", error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&fresh)
            .map_err(fault)?;
        let mut anchor = Self { file, path: fresh.clone() };
        // Both places hold bytes from the start, so that advancing never needs room on the disk.
        anchor.file.write_all(&[0; (PLACES * PLACE_LEN) as usize]).map_err(fault)?;
        anchor.advance(commit)?;
        anchor.file.sync_all().map_err(fault)?;
        std::fs::rename(&fresh, path).map_err(fault)?;
        anchor.path = path.to_path_buf();
        Ok(anchor)
    }

    /// Opens the anchor and reads the newest commit that it holds; `None` if there is no file.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, u64)>, StoreError> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(open::io_fault(path, "open", error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| open::io_fault(path, "read", error))?;
        let newest = (0..PLACES)
            .filter_map(|place| {
                let start = (place * PLACE_LEN) as usize;
                let record = bytes.get(start..start + RECORD_LEN)?;
                Seal.open_anchor(place, record).ok()
            })
            .max();
        match newest {
            Some(commit) => Ok(Some((Self { file, path: path.to_path_buf() }, commit))),
            None => Err(corrupt(path, "neither of its records verifies".into())),
        }
    }

    /// Notes that `commit` is durable.
    pub(super) fn advance(&mut self, commit: u64) -> Result<(), StoreError> {
        let place = commit % PLACES;
        let record = Seal.anchor(place, commit);
        self.file
            .seek(SeekFrom::Start(place * PLACE_LEN))
            .and_then(|_| self.file.write_all(&record))
            .map_err(|error| open::io_fault(&self.path, "write", error))
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // Without it the check is only weaker.
        let _unflushed = self.file.sync_data();
    }
}
