//! Free ports that stay free: a restarted process finds its port again, and no two fabrics meet on one.

use std::{
    env,
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

/// Below the range from which Linux takes ports for outgoing connections, which would otherwise steal them.
const RANGE: Range<u16> = 20_000..32_000;

/// How many ports this process has looked at.
static CANDIDATES: AtomicU32 = AtomicU32::new(0);

/// A port of loopback on which nobody listens, and which nobody else of this user reserves while this lives.
pub struct Port {
    address: SocketAddr,
    _lock: File,
}

impl Port {
    /// Reserves one.
    pub fn reserve() -> Result<Self> {
        let user = rustix::process::getuid().as_raw();
        let directory = env::temp_dir().join(format!("accord-ports-{user}"));
        fs::create_dir_all(&directory).with_context(|| format!("can't make {}", directory.display()))?;
        for _ in RANGE {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, next_candidate()));
            if let Some(lock) = lock(&directory, address.port())?
                && TcpListener::bind(address).is_ok()
            {
                return Ok(Self { address, _lock: lock });
            }
        }
        bail!("no port of {RANGE:?} is free")
    }

    /// Where one may serve.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// None where somebody else has the port.
fn lock(directory: &Path, port: u16) -> Result<Option<File>> {
    let file = File::create(directory.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Processes start to look at different places.
fn next_candidate() -> u16 {
    let before = CANDIDATES.fetch_add(1, Ordering::Relaxed);
    let of = u32::from(RANGE.end - RANGE.start);
    let offset = process::id().wrapping_mul(31).wrapping_add(before) % of;
    RANGE.start + u16::try_from(offset).expect("less than the range is long")
}

/// Ports held by a fabric, for as long as it lives.
#[derive(Default)]
pub(crate) struct Ports(Vec<Port>);

impl Ports {
    /// The address of one more.
    pub(crate) fn reserve(&mut self) -> Result<SocketAddr> {
        let port = Port::reserve()?;
        let address = port.address();
        self.0.push(port);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fabrics_never_get_the_same_port() {
        let (mut one, mut other) = (Ports::default(), Ports::default());
        let mut taken: Vec<_> =
            (0..20).flat_map(|_| [one.reserve().expect("a port"), other.reserve().expect("a port")]).collect();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 40);
    }

    #[test]
    fn reserved_port_is_not_reserved_again_while_it_is_held() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = lock(directory.path(), 20_000).expect("a file");
        assert!(held.is_some() && lock(directory.path(), 20_000).expect("a file").is_none());
        assert!(lock(directory.path(), 20_001).expect("a file").is_some());
    }
}
