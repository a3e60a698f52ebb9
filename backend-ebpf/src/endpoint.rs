//! The endpoint, as users open it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use electrode_backend_socket::SocketEndpoint;
use electrode_transport::{EndpointConfig, GroupConfig, GroupId, QuorumTransport, Stats};

use crate::accelerator::Programs;
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::Kernel;
use crate::options::EbpfOptions;
use crate::pin::{Folder, discard};
use crate::ticks::Ticks;

/// One node's endpoint: a UDP socket with the programs beside it. Clones are the same endpoint.
///
/// It lives as long as its last clone or transport; then the programs are detached and the socket
/// closes. A process that dies leaves nothing attached.
///
/// # Pinned
/// With [`EbpfOptions::pin`] programs, rings and groups outlive the process, whatever ends it: a
/// signal, an abort, an exit, or the end of the last clone. Only [`close`](Self::close) takes them
/// away, or [`unpin`](Self::unpin) later. Nothing that the kernel acknowledged is lost with the process,
/// but a host that crashes still loses it.
///
/// Meanwhile the kernel goes on, in `Received` mode also acknowledging, until the group's lease has run
/// out or its log is full. Then it is silent.
///
/// A process that binds the same address with the same folder takes over:
/// - [`join`](Self::join) of a group with the same id goes on with it. Fence, followed ballot and
///   position are as they were. [`FollowerStatus`](electrode_transport::FollowerStatus) of a first
///   `try_poll_log` tells them, and renews the lease; a fence below the one in force is refused with
///   [`BallotBackwards`](electrode_transport::TransportError::BallotBackwards), which names that one.
///   Following goes on by itself; whoever wants to be sure of everything first calls `fence` at the
///   followed ballot, which hands over what waits and changes nothing else.
/// - Entries come again that the library had not *taken*. In `Received` mode it takes what it was
///   handed when it polls again (after a fence: at the next `try_poll_log`), or acknowledges it; so it
///   stores a batch where a crash of the process does not reach, a file without `fsync` will do, and
///   only then polls again. In `Persisted` mode it takes what it acknowledges; entries of a ballot that
///   is no longer followed, when it polls again. In both, `follow` and `lead` of another ballot take
///   everything: by them the library says where its log ends. So entries come at least once over a crash, each slot
///   exactly once within a life, always in order: slots that the library's log has already are the
///   ones to leave out. Until they are taken they count against
///   [`GroupConfig::log_bytes`].
/// - What was led is led no more, and its ballot is never led again: its window went with the process.
///   A leader's own entries were never in the log: it keeps them safe itself before it broadcasts.
/// - Mode, `log_bytes`, and the membership of the pinned incarnation must be the same. A newer one
///   comes into force, as by `reconfigure`.
/// - Groups that are not joined stay as they are, silent after their lease:
///   [`dormant`](Self::dormant) names them and [`discard`](Self::discard) closes them.
#[derive(Clone, Debug)]
pub struct EbpfEndpoint {
    pub(crate) inner: SocketEndpoint<Programs>,
}

impl EbpfEndpoint {
    /// Binds the socket and puts the programs in place on the interface that has its address. The
    /// calling thread must be in that interface's network namespace; later calls may come from any.
    ///
    /// With [`HookChoice::Auto`](crate::HookChoice::Auto) it tries the hooks first, as
    /// [`probe`](crate::probe) does, until one works: some tenths of a second.
    ///
    /// With [`EbpfOptions::pin`], a folder on a BPF file system that exists or can be made (mode 0700)
    /// in one that does, everything is pinned in a folder of its own in there, named after the address,
    /// or taken over from there; `Auto` then stays with the hook that is pinned. The folder must belong
    /// to this user, nobody else may be able to write to it, no symbolic link may lead there, and
    /// `/proc` must be mounted. A predecessor that is just ending is waited for, up to a second.
    ///
    /// Minimum kernel: 6.6. Capabilities: `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`TransportError::Unavailable`](electrode_transport::TransportError::Unavailable) says why the
    /// programs cannot work here; the socket's own errors as
    /// [`SocketEndpoint::bind`]. Of pins it tells what [`EbpfError::NotBpffs`],
    /// [`UntrustedPins`](EbpfError::UntrustedPins), [`PinsInUse`](EbpfError::PinsInUse),
    /// [`PinsDiffer`](EbpfError::PinsDiffer) and [`PinsDamaged`](EbpfError::PinsDamaged) say; what
    /// is pinned then stays as it is.
    pub fn bind(config: EndpointConfig, options: EbpfOptions) -> electrode_transport::Result<Self> {
        let ours = config.clone();
        let inner = SocketEndpoint::bind_with(config, options.socket, |address, _| {
            Ok(Programs::start(address, &ours, &options, Kernel::load)?)
        })?;
        Ok(Self { inner })
    }

    /// Opens a group on this endpoint. It neither leads nor follows yet, and acknowledges nothing; but
    /// a group that is pinned and was left by an earlier process follows as it did.
    ///
    /// # Errors
    /// As [`SocketEndpoint::join`]; and for a pinned group what [`EbpfError::PinnedGroupDiffers`] says.
    pub fn join(
        &self,
        config: GroupConfig,
    ) -> electrode_transport::Result<Arc<dyn QuorumTransport>> {
        Ok(Arc::new(self.inner.join(config)?))
    }

    /// Where the ingress program is: what was asked for, or what
    /// [`HookChoice::Auto`](crate::HookChoice::Auto) found to work.
    #[must_use]
    pub fn hook(&self) -> Hook {
        self.inner.accelerator().hook()
    }

    /// The name, at the time of binding, of the interface on which the programs are.
    #[must_use]
    pub fn interface(&self) -> &str {
        self.inner.accelerator().interface()
    }

    /// Where the socket is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    /// The counters since it was opened, the programs' included.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// What the programs counted, by verdict and reason.
    ///
    /// # Errors
    /// [`EbpfError::Map`] if the kernel does not let it be read.
    pub fn ticks(&self) -> Result<Ticks, EbpfError> {
        self.inner.accelerator().ticks().map(Ticks::new)
    }

    /// Closes it with all its groups and detaches the programs: nothing is acknowledged any more.
    /// Nothing stays pinned: what was accepted and not taken is gone, as without pins.
    pub fn close(&self) {
        if let Some(pins) = &self.shared().kernel.pins {
            pins.end();
        }
        self.inner.close();
    }

    /// The pinned groups that an earlier process left and this one has not joined. Their kernel stores
    /// nothing once their lease has run out.
    #[must_use]
    pub fn dormant(&self) -> Vec<GroupId> {
        let state = self.shared().state();
        state.dormant.values().map(|dormant| dormant.group).collect()
    }

    /// Closes a pinned group that an earlier process left, with everything that was acknowledged in it
    /// and not taken. `false` if there is none that was not joined.
    ///
    /// # Errors
    /// [`EbpfError::Command`] if the kernel did not close it.
    pub fn discard(&self, group: GroupId) -> Result<bool, EbpfError> {
        discard(self.shared(), group)
    }

    /// Takes away what is pinned for an address in the folder, and detaches its programs, without
    /// taking it over: what was acknowledged there and not taken is gone. Nothing pinned is no error.
    ///
    /// # Errors
    /// [`EbpfError::PinsInUse`] while a process has it; [`EbpfError::NotBpffs`],
    /// [`EbpfError::UntrustedPins`], [`EbpfError::Io`].
    pub fn unpin(folder: &Path, address: SocketAddr) -> Result<(), EbpfError> {
        Folder::claim(folder, address)?.remove_all()
    }

    pub(crate) fn shared(&self) -> &crate::shared::Shared {
        self.inner.accelerator().shared()
    }

    /// As [`TransportCore::drive`](electrode_transport::TransportCore::drive), for all groups.
    ///
    /// # Errors
    /// As there.
    pub fn drive(&self) -> electrode_transport::Result<()> {
        self.inner.drive()
    }

    /// As [`TransportCore::wait`](electrode_transport::TransportCore::wait), for all groups.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, max: Duration) -> electrode_transport::Result<()> {
        self.inner.wait(max)
    }
}
