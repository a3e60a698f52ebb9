//! The programs and their maps, loaded: everything that touches the kernel's memory.

mod control;
#[cfg(test)]
mod differential;
mod link;
mod load;
mod mapped;
mod objects;
mod ring;

pub(crate) use link::{Link, LinkPlace};
pub(crate) use load::{
    CATCH, CONTROL, IN_TC, IN_XDP, Kernel, OUT_TC, PARTS, Rings, SEAT, Settings, object_digest,
};
pub(crate) use mapped::{Mapped, Mapping};
pub(crate) use objects::Objects;
pub(crate) use ring::Ring;
