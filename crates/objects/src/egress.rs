//! Which addresses may be called.
//!
//! Whoever can name a destination could make this program call what only it can reach: this host, its
//! network, the service that hands out a machine's credentials. So only public addresses are called, and those
//! that the operator names. An entry of `egress.allow` is a network (`10.1.0.0/16`), an address, or the name of
//! a host; the name allows whatever it stands for, exactly as it is written, not the names below it.
//!
//! The address that is looked at is the one that is called: names are resolved here, refused addresses taken
//! out, and the connection made to what is left. Redirects are not followed and proxies not used, because the
//! address behind them would be looked at by nobody.

mod addresses;
mod client;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use model::{Code, Failure, Fault};
use url::{Host, Url};

pub(crate) use client::{client, resolve};

/// What may be called besides public addresses. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    networks: Vec<IpNet>,
    hosts: BTreeSet<String>,
}

impl Egress {
    /// Reads the entries of `egress.allow`.
    ///
    /// # Errors
    ///
    /// [`Error::Entry`] for one that is neither network, address nor name.
    ///
    /// ```
    /// use objects::Egress;
    /// let egress = Egress::new(["10.0.0.0/8", "::1", "minio.internal"]).expect("read");
    /// assert!(egress.check("10.1.2.3".parse().expect("an address")).is_ok());
    /// assert!(egress.check("127.0.0.1".parse().expect("an address")).is_err());
    /// assert!(Egress::new(["http://minio.internal"]).is_err());
    /// ```
    pub fn new<'a>(allow: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut egress = Self::default();
        for entry in allow {
            if let Ok(network) = entry.parse::<IpNet>() {
                egress.networks.push(network);
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                egress.networks.push(address.into());
            } else {
                egress.hosts.insert(name(entry)?);
            }
        }
        Ok(egress)
    }

    /// Allows every address: for places that the operator names, not a tenant.
    pub fn everywhere() -> Self {
        let networks = [
            IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
            IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
        ];
        Self { networks: networks.into(), hosts: BTreeSet::new() }
    }

    /// Checks an address.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] if it is not public and in no network that is allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), Error> {
        if self.allows(address) { Ok(()) } else { Err(Error::Address { address }) }
    }

    /// Checks the address that a URL names, if it names one. A host's name is checked when it is resolved.
    ///
    /// # Errors
    ///
    /// Like [`Egress::check`].
    pub fn check_url(&self, url: &Url) -> Result<(), Error> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Returns those of a host's addresses that may be called.
    ///
    /// # Errors
    ///
    /// [`Error::Host`] if there is none.
    pub(crate) fn admit(
        &self,
        host: &str,
        mut found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Error> {
        if self.hosts.contains(&plain(host)) {
            return Ok(found);
        }
        let refused = found.iter().map(SocketAddr::ip).find(|address| !self.allows(*address));
        found.retain(|address| self.allows(address.ip()));
        match refused {
            Some(address) if found.is_empty() => {
                Err(Error::Host { host: host.to_owned(), address })
            }
            _ => Ok(found),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        // What is written in one form of an address is allowed in each of them.
        let inner = addresses::inner(address);
        let named = |network: &IpNet| network.contains(&address) || network.contains(&inner);
        addresses::is_public(address) || self.networks.iter().any(named)
    }
}

/// Reads the name of a host.
fn name(entry: &str) -> Result<String, Error> {
    match Host::parse(entry) {
        Ok(Host::Domain(name)) if !name.contains('*') => Ok(plain(&name)),
        _ => Err(Error::Entry { entry: entry.to_owned() }),
    }
}

/// The dot that a full name may end with is not part of it.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Why something may not be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An entry that cannot be read.
    #[error(
        "`egress.allow` has `{entry}`, which is no network, address or name of a host; write it like `10.1.0.0/16` or `minio.internal`"
    )]
    Entry {
        /// The entry.
        entry: String,
    },
    /// An address.
    #[error(
        "the address `{address}` is not public and may not be called; the operator can allow it in `egress.allow`"
    )]
    Address {
        /// The address.
        address: IpAddr,
    },
    /// A host without an address that may be called.
    #[error(
        "the host `{host}` has the address `{address}`, which is not public and may not be called; the operator can allow it in `egress.allow`"
    )]
    Host {
        /// Its name.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Entry { .. } => Code::Invalid,
            Self::Address { .. } | Self::Host { .. } => Code::Forbidden,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

#[cfg(test)]
mod tests;
