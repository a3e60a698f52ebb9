//! Loaded programs that serve one endpoint after another, for tests.
//!
//! The verifier takes a third of a second for one endpoint's programs, and the conformance suite binds
//! more than a thousand endpoints. Programs depend on nothing but their [`Settings`], and hosts of a
//! test bed have the same addresses again and again: so when an endpoint has ended, the next one with
//! equal settings can have its programs and maps.
//!
//! What such a kernel still holds, unlike one that was just loaded:
//! - the values of groups that were closed, and their boards. `Op::Open` sets every field of both, as
//!   it must for a group that is opened again on a living endpoint; a field that it forgot shows here
//!   as another cluster's;
//! - positions of the rings: they begin somewhere and wrap around elsewhere;
//! - the desk's count of frames passed, which only its changes matter of.
//!
//! All else must be as new, and is [checked](check): the endpoint that had it before has owed that to
//! its user as well. Only the counters are set to zero.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{HashMap, PerCpuArray, PerCpuValues};
use electrode_backend_socket::SocketEndpoint;
use electrode_ebpf_abi::Tick;
use electrode_transport::{EndpointConfig, Result};

use crate::accelerator::Programs;
use crate::endpoint::EbpfEndpoint;
use crate::error::EbpfError;
use crate::kernel::{Kernel, Rings, Settings};
use crate::options::EbpfOptions;
use crate::shared::{Shared, attached};

/// Kernels kept at most, in use or not: each has some twenty descriptors and five megabytes.
const KEPT_MAX: usize = 96;

/// A stock of loaded programs. Whatever is bound from it leaves its programs to it.
#[derive(Debug, Default)]
pub struct Stock {
    /// The longest kept in front.
    kept: Mutex<Vec<(Settings, Arc<Shared>)>>,
}

impl Stock {
    /// As [`EbpfEndpoint::bind`], with programs of an earlier endpoint if there are fitting ones.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// If an endpoint that ended has left its kernel in a state that no endpoint may leave.
    pub fn bind(&self, config: EndpointConfig, options: EbpfOptions) -> Result<EbpfEndpoint> {
        let ours = config.clone();
        let inner = SocketEndpoint::bind_with(config, options.socket, |address, _| {
            let mut settings = None;
            let programs = Programs::start(address, &ours, &options, |wanted| {
                settings = Some(wanted.clone());
                self.take(wanted).unwrap_or_else(|| Kernel::load(wanted))
            })?;
            if let Some(settings) = settings {
                self.keep(settings, programs.shared());
            }
            Ok(programs)
        })?;
        Ok(EbpfEndpoint { inner })
    }

    /// The programs of an endpoint that has ended. Its accelerator was closed, so nothing is attached.
    fn take(&self, wanted: &Settings) -> Option<Result<(Kernel, Rings), EbpfError>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |shared: &Arc<Shared>| {
            Arc::strong_count(shared) == 1
                && !shared.is_attached(attached::INGRESS | attached::EGRESS)
        };
        let at =
            kept.iter().position(|(settings, shared)| settings == wanted && is_free(shared))?;
        let (_, shared) = kept.remove(at);
        drop(kept);
        Some(check(Arc::into_inner(shared)?))
    }

    fn keep(&self, settings: Settings, shared: &Arc<Shared>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((settings, Arc::clone(shared)));
        if kept.len() > KEPT_MAX {
            // If it is in use it goes with its endpoint.
            kept.remove(0);
        }
    }
}

/// Looks whether the last endpoint has left everything as it must, and sets the counters to zero.
fn check(shared: Shared) -> Result<(Kernel, Rings), EbpfError> {
    assert!(!shared.is_broken(), "a kernel that ran no commands is not used again");
    let (mut kernel, mut rings, places) = shared.into_parts();
    assert!(places.is_empty(), "groups outlived their endpoint: {places:?}");
    let pins = kernel.pins.take();
    assert!(pins.is_none_or(|pins| pins.is_ending()), "what is still pinned is not used again");
    for sleepers in [kernel.desk.sleepers(), kernel.desk.nappers()] {
        assert_eq!(sleepers.load(Ordering::SeqCst), 0, "who slept was not counted out");
    }
    for ring in &mut rings.logs {
        ring.read_reserved(|_| panic!("an entry was stored after its group was closed"));
    }
    // Of groups that are closed nobody wants to know.
    rings.notices.read_reserved(|_| {});
    let known = names(&kernel)?;
    assert!(known.is_empty(), "the programs still know the groups {known:?}");
    clear_ticks(&mut kernel)?;
    Ok((kernel, rings))
}

/// The groups that the programs would find.
fn names(kernel: &Kernel) -> Result<Vec<u32>, EbpfError> {
    const NAME: &str = "el_places";
    let map_error = |source| EbpfError::Map { name: NAME, source: Box::new(source) };
    let map = kernel.ebpf.map(NAME).ok_or(EbpfError::Foreign { name: NAME })?;
    let map: HashMap<_, u32, u32> = map.try_into().map_err(map_error)?;
    map.keys().collect::<std::result::Result<_, _>>().map_err(map_error)
}

fn clear_ticks(kernel: &mut Kernel) -> Result<(), EbpfError> {
    const NAME: &str = "el_ticks";
    let map_error = |source| EbpfError::Map { name: NAME, source: Box::new(source) };
    let map = kernel.ebpf.map_mut(NAME).ok_or(EbpfError::Foreign { name: NAME })?;
    let mut map: PerCpuArray<_, [u64; Tick::COUNT]> = map.try_into().map_err(map_error)?;
    let cpus = aya::util::nr_cpus()
        .map_err(|(_, source)| EbpfError::Io { operation: "count the CPUs", source })?;
    let zeros = PerCpuValues::try_from(vec![[0; Tick::COUNT]; cpus])
        .map_err(|source| EbpfError::Io { operation: "make a value for each CPU", source })?;
    map.set(0, zeros, 0).map_err(map_error)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use electrode_ebpf_abi::{Endpoint, NOBODY, Opening, Peer, Seating};
    use electrode_transport::rules::{Gate, Voters};
    use electrode_transport::{ClusterId, Incarnation, MEMBERS_MAX, MemberIndex};

    use super::*;
    use crate::privileged::is_privileged;

    fn nobody() -> Seating {
        Seating {
            gate: Gate {
                cluster: ClusterId(9),
                incarnation: Incarnation(1),
                own: MemberIndex(0),
                members: 0,
                keyed: 0,
                reserved: 0,
            },
            voters: Voters::default(),
            change: 0,
            leader: NOBODY,
            carrier: NOBODY,
            reserved: 0,
            copies: 0,
            peers: [Peer::default(); MEMBERS_MAX],
        }
    }

    /// What is found of programs in which an endpoint has left something.
    fn used(left: impl FnOnce(&Kernel)) -> std::result::Result<(Kernel, Rings), String> {
        let settings = Settings {
            endpoint: Endpoint { body_len_max: 1_380, ..Endpoint::default() },
            offloads: 0,
            log_bytes: 1 << 16,
            notice_bytes: 1 << 16,
        };
        let (kernel, rings) = Kernel::load(&settings).expect("the programs load");
        left(&kernel);
        let shared = Shared::new(kernel, rings).expect("an eventfd");
        let checked = catch_unwind(AssertUnwindSafe(|| check(shared)));
        let said = |panic: Box<dyn std::any::Any + Send>| {
            panic.downcast_ref::<String>().cloned().unwrap_or_default()
        };
        Ok(checked.map_err(said)?.expect("the maps are there"))
    }

    #[test]
    fn what_was_not_left_clean_is_not_used_again() {
        if !is_privileged("the stock of programs") {
            return;
        }
        used(|_| {}).expect("nothing was left");
        let said = used(|kernel| {
            kernel.desk.sleepers().fetch_add(1, Ordering::SeqCst);
        });
        assert!(said.expect_err("one sleeps").contains("counted out"));
        let said = used(|kernel| {
            let opening = Opening { id: 5, mode: 0, log_limit: 0, seating: nobody() };
            kernel.open(3, &opening).expect("the group opens");
        });
        assert!(said.expect_err("a group is open").contains("still know"));
    }
}
