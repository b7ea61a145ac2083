//! Free ports that stay free: a restarted process finds its port again, and no two fabrics meet on one.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

/// Below the range from which Linux takes ports for outgoing connections, which would otherwise steal them.
const RANGE: Range<u16> = 20_000..32_000;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

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
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, next()));
            let lock = File::create(directory.join(address.port().to_string()))?;
            if lock.try_lock().is_ok() && TcpListener::bind(address).is_ok() {
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

/// Processes start to look at different places.
fn next() -> u16 {
    let looked_at = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
    let of = u32::from(RANGE.end - RANGE.start);
    let offset = process::id().wrapping_mul(31).wrapping_add(looked_at) % of;
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
    fn port_whose_place_in_the_range_comes_again_is_given_to_nobody_else() {
        let held = Port::reserve().expect("a port");
        let file = env::temp_dir().join(format!("accord-ports-{}", rustix::process::getuid().as_raw()));
        let again = File::create(file.join(held.address().port().to_string())).expect("the file of its lock");
        assert!(again.try_lock().is_err());
        drop(held);
        assert!(again.try_lock().is_ok());
    }
}
