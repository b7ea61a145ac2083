//! Free ports that stay free: a restarted process finds its port again, and no two fabrics meet on one.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::PathBuf,
    process,
};

use anyhow::{Context, Result, bail};

/// Below the range from which Linux takes ports for outgoing connections, which would otherwise steal them.
const RANGE: Range<u16> = 20_000..32_000;

/// Ports held by this fabric, for as long as it lives.
pub(crate) struct Ports {
    directory: PathBuf,
    next: u16,
    locks: Vec<File>,
}

impl Ports {
    /// Nothing reserved yet.
    pub(crate) fn new() -> Result<Self> {
        let user = rustix::process::getuid().as_raw();
        let directory = env::temp_dir().join(format!("accord-ports-{user}"));
        fs::create_dir_all(&directory).with_context(|| format!("can't make {}", directory.display()))?;
        // Fabrics of different processes start looking at different places.
        let spread = u16::try_from(process::id() * 31 % u32::from(RANGE.end - RANGE.start))?;
        Ok(Self { directory, next: RANGE.start + spread, locks: Vec::new() })
    }

    /// A loopback address on which nobody listens, and which no other fabric of this user gets.
    pub(crate) fn reserve(&mut self) -> Result<SocketAddr> {
        for _ in RANGE {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
            self.next = if self.next + 1 == RANGE.end { RANGE.start } else { self.next + 1 };
            let lock = File::create(self.directory.join(address.port().to_string()))?;
            if lock.try_lock().is_ok() && TcpListener::bind(address).is_ok() {
                self.locks.push(lock);
                return Ok(address);
            }
        }
        bail!("no port of {RANGE:?} is free")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fabrics_never_get_the_same_port() {
        let (mut one, mut other) = (Ports::new().expect("ports"), Ports::new().expect("ports"));
        let mut taken: Vec<_> =
            (0..20).flat_map(|_| [one.reserve().expect("a port"), other.reserve().expect("a port")]).collect();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 40);
    }
}
