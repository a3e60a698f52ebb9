//! The backends that this build can try to open.

#[cfg(any(not(feature = "socket"), not(feature = "ebpf"), not(target_os = "linux")))]
use electrode_transport::Obstacle;
use electrode_transport::{Result, TransportError};

use crate::backend::Backend;
use crate::open::{Fallback, Options, Selected};

type Opened = Box<dyn Backend>;

/// The best that works: the kernel, if it is built in; else sockets.
pub(crate) fn best(options: &Options) -> Result<(Opened, Selected)> {
    if !cfg!(feature = "ebpf") {
        let why = "the best of those that are built in";
        return Ok((socket(options)?, Selected::new("socket", why)));
    }
    let (from, reason, why) = match ebpf(options) {
        Ok((backend, place)) => {
            return Ok((backend, Selected::new("ebpf", format!("it works here; {place}"))));
        }
        Err(TransportError::Unavailable { backend, reason, why })
            if cfg!(feature = "socket") && !is_pinned(options) =>
        {
            (backend, reason, why)
        }
        // An address that is taken or a key that is wrong is no better on a socket.
        Err(error) => return Err(error),
    };
    let backend = fall_back(options)?;
    tracing::warn!(
        wanted = from,
        reason = reason.name(),
        why,
        node = %options.endpoint.node,
        "falling back to the socket backend: everything works, slower; to be told instead of served, \
         ask for the ebpf backend"
    );
    Ok((backend, Selected::instead("socket", Fallback::new(from, reason, why))))
}

/// Whether programs may have outlived an earlier process. They acknowledge in its name until their leases
/// end, so a member that begins anew on a socket would not be the only one of its name; and what is to
/// outlive this process would not.
fn is_pinned(options: &Options) -> bool {
    #[cfg(feature = "ebpf")]
    return options.ebpf.pin.is_some();
    #[cfg(not(feature = "ebpf"))]
    {
        let _ = options;
        false
    }
}

#[cfg(feature = "socket")]
pub(crate) fn socket(options: &Options) -> Result<Opened> {
    Ok(Box::new(crate::SocketEndpoint::bind(options.endpoint.clone(), options.socket)?))
}

#[cfg(feature = "socket")]
fn fall_back(options: &Options) -> Result<Opened> {
    let endpoint =
        crate::SocketEndpoint::bind_as_fallback(options.endpoint.clone(), options.socket)?;
    Ok(Box::new(endpoint))
}

#[cfg(not(feature = "socket"))]
pub(crate) fn socket(_options: &Options) -> Result<Opened> {
    let why = "this build leaves it out: enable the feature `socket` of the crate `electrode`";
    Err(unavailable("socket", Obstacle::NotBuilt, why))
}

#[cfg(not(feature = "socket"))]
fn fall_back(options: &Options) -> Result<Opened> {
    socket(options)
}

/// The endpoint, and where its programs are.
#[cfg(all(feature = "ebpf", target_os = "linux"))]
pub(crate) fn ebpf(options: &Options) -> Result<(Opened, String)> {
    let endpoint = crate::EbpfEndpoint::bind(options.endpoint.clone(), options.ebpf.clone())?;
    let place = format!("programs on {} by {}", endpoint.interface(), endpoint.hook());
    Ok((Box::new(endpoint), place))
}

#[cfg(all(feature = "ebpf", not(target_os = "linux")))]
pub(crate) fn ebpf(_options: &Options) -> Result<(Opened, String)> {
    let why = "it needs Linux 6.6 or later: choose auto or socket on this system";
    Err(unavailable("ebpf", Obstacle::System, why))
}

#[cfg(not(feature = "ebpf"))]
pub(crate) fn ebpf(_options: &Options) -> Result<(Opened, String)> {
    let why = "this build leaves it out: enable the feature `ebpf` of the crate `electrode`, or choose \
               auto or socket";
    Err(unavailable("ebpf", Obstacle::NotBuilt, why))
}

#[cfg(any(not(feature = "socket"), not(feature = "ebpf"), not(target_os = "linux")))]
fn unavailable(backend: &'static str, reason: Obstacle, why: &str) -> TransportError {
    TransportError::Unavailable { backend, reason, why: why.to_owned() }
}
