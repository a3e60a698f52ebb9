//! Where the ingress program can sit.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

#[cfg(target_os = "linux")]
use crate::net::InterfaceKind;

/// Where the kernel hands arriving frames to the ingress program. The egress program is always at TC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hook {
    /// The classifier at TC ingress: any interface. By tcx, Linux 6.6.
    Tc,
    /// XDP in the stack, for any driver (`xdpgeneric` of `ip link`).
    XdpGeneric,
    /// XDP in the driver (`xdpdrv` of `ip link`).
    XdpNative,
}

/// A word that names no [`Hook`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no hook {word:?}: choose tc, xdp-generic or xdp-native")]
pub struct UnknownHook {
    /// The word.
    pub word: String,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tc, Self::XdpGeneric, Self::XdpNative];

    /// All of them, the one to be preferred on such an interface first.
    ///
    /// A network card's driver saves the most by handing over frames before it makes packets of
    /// them. On virtual interfaces the packet exists already, and native XDP would copy it.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn preferred_on(kind: &InterfaceKind) -> [Self; 3] {
        match kind {
            InterfaceKind::Physical => [Self::XdpNative, Self::Tc, Self::XdpGeneric],
            _ => [Self::Tc, Self::XdpGeneric, Self::XdpNative],
        }
    }

    /// `tc`, `xdp-generic` or `xdp-native`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::XdpGeneric => "xdp-generic",
            Self::XdpNative => "xdp-native",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Hook {
    type Err = UnknownHook;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let hook = Self::ALL.into_iter().find(|hook| hook.name() == word);
        hook.ok_or_else(|| UnknownHook { word: word.to_owned() })
    }
}

impl Serialize for Hook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
