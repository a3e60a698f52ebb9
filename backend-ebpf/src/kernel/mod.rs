//! The programs and their maps, loaded: everything that touches the kernel's memory.

mod control;
mod load;
mod mapped;
mod ring;

#[allow(unused_imports, reason = "the endpoint comes next")]
pub(crate) use load::{Kernel, Rings, Settings};
