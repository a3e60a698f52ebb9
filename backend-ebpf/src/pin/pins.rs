//! What an endpoint has pinned while it lives.

use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::MapData;
use aya::pin::PinError;
use aya::sys::SyscallError;

use super::charter::{self, Charter};
use super::folder::{Folder, LINK_IN, LINK_OUT};
use super::shelf::Shelf;
use crate::attach::{Attachment, Post};
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::{Kernel, Mapping};
use crate::net::Interface;

const CHARTER: &str = "charter";

/// An endpoint's pins. The folder is locked as long as this lives.
#[derive(Debug)]
pub(crate) struct Pins {
    folder: Folder,
    charter: Mapping,
    /// Made by this process and not had by its endpoint yet: if that cannot be made, they go again.
    on_trial: AtomicBool,
    /// The endpoint is closed by its user's word: nothing is to be left.
    ending: AtomicBool,
    /// Nothing is left to remove.
    removed: AtomicBool,
    /// The folder may be somebody else's now.
    unlocked: AtomicBool,
}

impl Pins {
    /// A charter for pins in the making.
    pub(super) fn make(folder: Folder) -> Result<Self, EbpfError> {
        let map = array(charter::BYTES, "el_charter")?;
        pin(CHARTER, map.pin(folder.prepare()?.join(CHARTER)))?;
        let charter = map_memory(&map, page_len(charter::BYTES))?;
        Ok(Self::of(folder, charter, true))
    }

    /// Pins that an earlier process left.
    pub(super) fn find(folder: Folder) -> Result<Self, EbpfError> {
        let map = MapData::from_pin(folder.live(CHARTER))
            .map_err(|error| damaged(&folder, format!("the {CHARTER} is missing ({error})")))?;
        let charter = map_memory(&map, page_len(charter::BYTES))?;
        Ok(Self::of(folder, charter, false))
    }

    fn of(folder: Folder, charter: Mapping, on_trial: bool) -> Self {
        let no = || AtomicBool::new(false);
        let on_trial = on_trial.into();
        Self { folder, charter, on_trial, ending: no(), removed: no(), unlocked: no() }
    }

    pub(super) const fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) const fn charter(&self) -> &Mapping {
        &self.charter
    }

    /// The endpoint has them now: from here on only its user's word takes them away.
    pub(crate) fn settle(&self) {
        self.on_trial.store(false, Ordering::Relaxed);
    }

    /// The endpoint is about to be closed by its user's word.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Takes everything away, if that is how the endpoint ends, and lets somebody else have the folder. An
    /// endpoint that fails is closed before its user says how it ends: then the folder is taken once more, if
    /// nobody else has it by then.
    pub(crate) fn close(&self) {
        let was_unlocked = self.unlocked.swap(true, Ordering::Relaxed);
        if self.is_ending() && !self.removed.swap(true, Ordering::Relaxed) {
            let path = self.folder.path().display();
            if was_unlocked && !self.folder.lock_again() {
                tracing::warn!(%path, "somebody else has what was pinned: it stays");
                return;
            }
            if let Err(error) = self.folder.remove_all() {
                tracing::error!(%error, %path, "what was pinned is still there: remove it by hand");
            }
        } else if was_unlocked {
            return;
        }
        self.folder.unlock();
    }

    /// A shelf for the group at a place that is about to be opened.
    pub(crate) fn add_shelf(&self, place: u32, limit: u64) -> Result<Shelf, EbpfError> {
        let name = shelf_name(place);
        self.folder.remove(&name)?;
        let len = Shelf::memory_len(limit);
        let map = array(len, "el_shelf")?;
        pin(&name, map.pin(self.folder.live(&name)))?;
        Shelf::open(map_memory(&map, page_len(len))?, limit, 0)
            .map_err(|what| damaged(&self.folder, what))
    }

    /// The shelf of an open group, as it was left.
    pub(super) fn find_shelf(
        &self,
        place: u32,
        limit: u64,
        released: u64,
    ) -> Result<Shelf, EbpfError> {
        let name = shelf_name(place);
        let missing = |error| damaged(&self.folder, format!("{name} is missing ({error})"));
        let map = MapData::from_pin(self.folder.live(&name)).map_err(missing)?;
        let memory = map_memory(&map, page_len(Shelf::memory_len(limit)))?;
        Shelf::open(memory, limit, released)
            .map_err(|what| damaged(&self.folder, format!("{name} has {what}")))
    }

    /// The group at a place is closed.
    pub(crate) fn remove_shelf(&self, place: u32) {
        if let Err(error) = self.folder.remove(&shelf_name(place)) {
            tracing::warn!(%error, place, "a closed group's pin is left until the next start");
        }
    }

    /// Removes shelves of groups that are not open: somebody died between the two.
    pub(super) fn sweep(&self, is_open: impl Fn(u32) -> bool) -> Result<(), EbpfError> {
        for name in self.folder.names()? {
            let place = name.strip_prefix(SHELF).and_then(|place| place.parse().ok());
            if place.is_some_and(|place| !is_open(place)) {
                self.folder.remove(&name)?;
            }
        }
        Ok(())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.on_trial.load(Ordering::Relaxed) {
            self.end();
            self.close();
        }
    }
}

const SHELF: &str = "shelf_";

fn shelf_name(place: u32) -> String {
    format!("{SHELF}{place}")
}

pub(super) fn damaged(folder: &Folder, what: String) -> EbpfError {
    EbpfError::PinsDamaged { path: folder.path().to_owned(), what }
}

pub(super) fn pin(name: &str, result: Result<(), PinError>) -> Result<(), EbpfError> {
    result.map_err(|source| EbpfError::Pin { name: name.to_owned(), source: Box::new(source) })
}

const PAGE: usize = 4_096;

fn page_len(len: usize) -> usize {
    len.next_multiple_of(PAGE)
}

/// A map of so many bytes that user space alone uses, for its memory.
fn array(len: usize, name: &'static str) -> Result<MapData, EbpfError> {
    const ARRAY: u32 = 2;
    const MAPPED: u32 = 1 << 10;
    let pages = (len.div_ceil(PAGE)) as u32;
    let definition = aya_obj::Map::new_from_params(ARRAY, 4, PAGE as u32, pages, MAPPED);
    MapData::create(definition, name, None)
        .map_err(|source| EbpfError::Map { name, source: Box::new(source) })
}

fn map_memory(map: &MapData, len: usize) -> Result<Mapping, EbpfError> {
    use std::os::fd::AsFd;
    Mapping::new(map.fd().as_fd(), 0, len, true)
        .map_err(|source| EbpfError::Io { operation: "map pinned memory", source })
}

/// What a link is called.
const fn link_name(post: Post) -> &'static str {
    match post {
        Post::Ingress(_) => LINK_IN,
        Post::Egress => LINK_OUT,
    }
}

impl Kernel {
    /// Puts both programs in place: first that of arriving frames. Pinned links that still hold are
    /// kept. The calling thread must be in the interface's network namespace.
    ///
    /// # Errors
    /// As [`attach_ingress`](Self::attach_ingress) and [`put_back`](Self::put_back).
    pub(crate) fn attach_both(
        &mut self,
        interface: &Interface,
        hook: Hook,
    ) -> Result<[Attachment; 2], EbpfError> {
        let Some(pins) = &self.pins else {
            return Ok([self.attach_ingress(interface, hook)?, self.attach_egress(interface)?]);
        };
        let here = charter::namespace()?;
        // Interfaces of other namespaces may have the same number.
        let is_here = charter::noted_namespace(&pins.charter) == here;
        let attach = |post| {
            let found = if is_here { pins.found(self, post, interface)? } else { None };
            found.map_or_else(
                || {
                    pins.folder.remove(link_name(post))?;
                    self.put_back(post, interface)
                },
                Ok,
            )
        };
        let attachments = [attach(Post::Ingress(hook))?, attach(Post::Egress)?];
        charter::note_namespace(&pins.charter, here);
        Ok(attachments)
    }

    /// Puts a program that is loaded in its place, and pins it there if everything else is pinned.
    ///
    /// # Errors
    /// As [`attach`](Self::attach); [`EbpfError::Pin`]: then it is in no place.
    pub(crate) fn put_back(
        &self,
        post: Post,
        interface: &Interface,
    ) -> Result<Attachment, EbpfError> {
        let attachment = self.attach(post, interface)?;
        if let Some(pins) = &self.pins {
            let name = link_name(post);
            let failed =
                |io_error| PinError::SyscallError(SyscallError { call: "BPF_OBJ_PIN", io_error });
            pin(name, attachment.pin(&pins.folder.live(name)).map_err(failed))?;
        }
        Ok(attachment)
    }

    /// Takes a program out of its place, if it is still there.
    pub(crate) fn take_out(&self, post: Post, attachment: Attachment) {
        drop(attachment);
        if let Some(pins) = &self.pins
            && let Err(error) = pins.folder.remove(link_name(post))
        {
            tracing::warn!(%error, "the pin of a program that is no longer in place stays");
        }
    }
}

impl Pins {
    /// The pinned link of a post, if it holds the program there on this interface.
    fn found(
        &self,
        kernel: &Kernel,
        post: Post,
        interface: &Interface,
    ) -> Result<Option<Attachment>, EbpfError> {
        let name = link_name(post);
        if !self.folder.has(name) {
            return Ok(None);
        }
        let program = kernel.program_id(post.program())?;
        let found = Attachment::found(&self.folder.live(name), interface, program);
        if !matches!(found, Ok(Some(_))) {
            tracing::info!(name, ?found, "a pinned link does not hold here: attached anew");
        }
        Ok(found.ok().flatten())
    }
}

/// The program of a hook.
pub(super) const fn ingress_name(hook: Hook) -> &'static str {
    Post::Ingress(hook).program()
}

impl Pins {
    /// The charter, in pins in the making.
    pub(super) fn write_charter(
        &self,
        charter: &Charter,
        kernel: &Kernel,
    ) -> Result<(), EbpfError> {
        charter.write(&kernel.desk, &self.charter);
        charter::note_namespace(&self.charter, charter::namespace()?);
        Ok(())
    }
}
