//! The ports that `up` uses: those of the documentation, the same moved, or any that are free.

use std::net::TcpListener;
use std::str::FromStr;

use accord_fabric::{Addresses, Builder, Part};
use anyhow::{Result, bail};

/// What `--ports` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Those that the documentation names.
    #[default]
    Documented,
    /// The same, so that the gateway is on this one.
    From(u16),
    /// Any.
    Free,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "free" {
            return Ok(Self::Free);
        }
        let base = text.parse().ok().filter(|base| *base > 0 && Addresses::from(*base).is_some());
        base.map(Self::From).ok_or_else(|| "write the gateway's port, from 1 to 64500, or `free`".to_owned())
    }
}

impl Choice {
    /// Fails with what to do where one of them is not to be had.
    pub(super) fn require(self) -> Result<()> {
        self.addresses().map_or(Ok(()), |addresses| require(&addresses))
    }

    /// Puts a fabric on these ports.
    pub(super) fn put(self, builder: Builder) -> Builder {
        match self.addresses() {
            Some(addresses) => builder.on(addresses),
            None => builder,
        }
    }

    /// None where the fabric finds some itself.
    fn addresses(self) -> Option<Addresses> {
        match self {
            Self::Documented => Some(Addresses::documented()),
            Self::From(base) => Addresses::from(base),
            Self::Free => None,
        }
    }

    /// What the directory is called, below that of the documented ports, in which this one keeps its data: two of them may
    /// run at once.
    pub(super) fn directory(self) -> Option<String> {
        match self {
            Self::Documented => None,
            Self::From(base) => Some(format!("ports-{base}")),
            Self::Free => Some("ports-free".to_owned()),
        }
    }
}

fn require(addresses: &Addresses) -> Result<()> {
    for (part, address) in addresses.all() {
        if let Err(problem) = TcpListener::bind(address) {
            let (name, port) = (Part::name(part), address.port());
            bail!(
                "{name} needs {address}, which can't be listened on ({problem}): stop what holds it (`lsof -i :{port}` \
                 names it), or take other ports with `--ports 18080` or `--ports free`"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_moved_alike_from_that_of_the_gateway() {
        assert_eq!("18080".parse(), Ok(Choice::From(18080)));
        let moved = Addresses::from(18080).unwrap();
        let ports = Part::ALL.map(|part| (part.name(), moved.of(part).0.port()));
        let expected = [("auth", 18090), ("cache", 18100), ("catalog", 19000), ("orders", 19010), ("gateway", 18080)];
        assert_eq!(ports, expected);
        assert_eq!(moved.internal().port(), 18082);
    }

    #[test]
    fn ports_that_are_none_are_refused_with_what_to_write() {
        for wrong in ["0", "65000", "many", "-1", ""] {
            assert!(wrong.parse::<Choice>().unwrap_err().contains("or `free`"), "{wrong}");
        }
    }

    #[test]
    fn port_that_is_taken_is_answered_with_the_flag_for_others() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = holder.local_addr().unwrap().port();
        // Where so high a port leaves no room for the others, there is nothing to try.
        let Some(addresses) = Addresses::from(base) else { return };
        let refused = require(&addresses).unwrap_err().to_string();
        assert!(refused.contains("gateway needs") && refused.contains("--ports free"), "{refused}");
    }
}
