//! The self-test of a hook: a frame goes in where frames come in, is stored by the program at the hook,
//! and its answer comes out. Not a version number is looked at.
//!
//! Nothing reaches the wire but, from generic XDP, one answer whose both Ethernet addresses are the
//! interface's own, because the stack sends it without passing any hook where it could be caught. No
//! switch forwards it. Everything is detached again when the test ends, however it does.

mod frame;
mod scratch;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use aya::programs::TcAttachType;
use electrode_ebpf_abi::Tick;

use self::scratch::{Scratch, Way, within};
use crate::attach::Attachment;
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::Kernel;
use crate::net::{Interface, InterfaceKind, transmitted};
use crate::preflight;
use crate::survey::Proof;

/// Tries one hook of an interface in the calling thread's network namespace.
///
/// # Errors
/// Why the hook does not work: [`EbpfError::Load`], [`EbpfError::Attach`], [`EbpfError::Occupied`],
/// [`EbpfError::NoAnswer`] and others.
pub(crate) fn test(
    interface: &Interface,
    address: Option<IpAddr>,
    hook: Hook,
) -> Result<Proof, EbpfError> {
    preflight::check_ethernet(interface)?;
    let Some(mac) = interface.mac else { return Ok(unproven("it has no hardware address")) };
    let (mut kernel, open) = Scratch::load(address.is_some_and(|address| address.is_ipv6()))?;
    let catch = place_catch(&mut kernel, interface, hook)?;
    let ingress = kernel.attach_ingress(interface, hook)?;
    let scratch = open(kernel).map_err(|error| failed(hook, interface, &error.to_string()))?;
    let frame = scratch.frame(mac);
    let test = Test { scratch, interface, hook, frame };
    let proof = match (hook, catch) {
        (Hook::Tc, Some(_)) => test.echo(interface.index, Way::In),
        (Hook::XdpGeneric, _) => test.echo_by_counter(),
        (_, Some((peer, _))) => test.echo(peer, Way::Out),
        (_, None) => test.listen(),
    };
    drop(ingress);
    proof
}

/// The interface whose frames are caught, and the program that catches them.
type Catch = (u32, Attachment);

/// Where the answer can be caught before it reaches anybody: as it leaves, or, of a veth in driver
/// mode, as it reaches the other end, if that is in this namespace.
fn place_catch(
    kernel: &mut Kernel,
    interface: &Interface,
    hook: Hook,
) -> Result<Option<Catch>, EbpfError> {
    match (hook, interface.veth_peer) {
        (Hook::Tc, _) => {
            Ok(Some((interface.index, kernel.attach_catch(interface, TcAttachType::Egress)?)))
        }
        (Hook::XdpNative, Some((index, true))) => {
            let peer = Interface::by_index(index)?;
            Ok(Some((index, kernel.attach_catch(&peer, TcAttachType::Ingress)?)))
        }
        _ => Ok(None),
    }
}

struct Test<'a> {
    scratch: Scratch,
    interface: &'a Interface,
    hook: Hook,
    frame: Vec<u8>,
}

impl Test<'_> {
    /// In at the hook, and the answer caught.
    fn echo(mut self, at: u32, way: Way) -> Result<Proof, EbpfError> {
        self.scratch.inject(&self.frame, at, way)?;
        self.check_stored()?;
        if !self.scratch.await_tick(Tick::Left, 1)? {
            return Err(self.failed(match way {
                Way::In => "the frame was stored, but its answer did not leave",
                Way::Out => {
                    "the frame was stored, but its answer did not arrive at the other end of the \
                     veth: attach an XDP program there that passes everything"
                }
            }));
        }
        Ok(Proof::Echoed)
    }

    /// In at the hook, and the driver has counted the answer.
    fn echo_by_counter(mut self) -> Result<Proof, EbpfError> {
        let index = self.interface.index;
        let read = || {
            let failed =
                |source| EbpfError::Netlink { operation: "read an interface's counters", source };
            transmitted(index).map_err(failed)
        };
        let before = read()?;
        self.scratch.inject(&self.frame, index, Way::In)?;
        self.check_stored()?;
        if !within(|| Ok(read()? > before))? {
            return Err(self.failed("the frame was stored, but the driver counted no answer"));
        }
        Ok(Proof::Echoed)
    }

    /// Nothing can be put in before a driver's own XDP: the program answers apart from the driver, and
    /// whether the driver hands it frames is seen by waiting for some.
    fn listen(mut self) -> Result<Proof, EbpfError> {
        if !self.scratch.test_run(&self.frame)? {
            return Err(self.failed("the program did not answer in a test run"));
        }
        self.check_stored()?;
        if self.interface.kind == InterfaceKind::Veth {
            return Ok(unproven(
                "whether an answer arrives is up to the XDP program at the other end, which is in \
                 another network namespace",
            ));
        }
        // The test run is one of them.
        if !self.scratch.await_tick(Tick::Seen, 2)? {
            return Ok(unproven("no frame came by the wire within a second to see the driver by"));
        }
        Ok(Proof::Seen { frames: self.scratch.ticks()?[Tick::Seen as usize] - 1 })
    }

    fn check_stored(&mut self) -> Result<(), EbpfError> {
        if !self.scratch.await_tick(Tick::Stored, 1)? {
            return Err(self.failed("a frame was put into it, and the program did not store it"));
        }
        if self.scratch.ticks()?[Tick::ReplyFailed as usize] != 0 {
            return Err(self.failed("the frame was stored, but could not be turned into an answer"));
        }
        if !self.scratch.is_stored() {
            return Err(self.failed("the log does not hold what was sent"));
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> EbpfError {
        failed(self.hook, self.interface, what)
    }
}

fn failed(hook: Hook, interface: &Interface, what: &str) -> EbpfError {
    EbpfError::NoAnswer { hook, interface: interface.name.clone(), what: what.to_owned() }
}

fn unproven(why: &str) -> Proof {
    Proof::Unproven { why: why.to_owned() }
}
