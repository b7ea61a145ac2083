//! What a Cluster says of its slots.

use crate::reply::Reply;
use crate::server::Address;
use crate::slot::SLOTS;

/// Which node has which slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    /// The nodes that have any, each once.
    pub nodes: Vec<Address>,
    /// For each slot the place of its node among them, where one has it.
    pub owners: Vec<Option<u16>>,
}

impl Slots {
    /// What `CLUSTER SLOTS` answers, from a node with this host; nothing where that is something else.
    pub(crate) fn read(reply: &Reply, asked: &str) -> Option<Self> {
        let Reply::Array(ranges) = reply else { return None };
        let mut slots = Self { nodes: Vec::new(), owners: vec![None; SLOTS] };
        for range in ranges {
            let Reply::Array(range) = range else { return None };
            let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] = &range[..] else {
                return None;
            };
            let place = slots.place(address(master, asked)?)?;
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            slots.owners.get_mut(first..=last)?.fill(Some(place));
        }
        Some(slots)
    }

    fn place(&mut self, address: Address) -> Option<u16> {
        let found = self.nodes.iter().position(|node| *node == address);
        let place = found.unwrap_or_else(|| {
            self.nodes.push(address);
            self.nodes.len() - 1
        });
        u16::try_from(place).ok()
    }
}

/// A node: where it is reached, its port, its name, and more. One that does not know its own host has that which was asked.
fn address(node: &[Reply], asked: &str) -> Option<Address> {
    let [host, Reply::Integer(port), ..] = node else { return None };
    let host = match host {
        Reply::Text(host) if !host.is_empty() && &host[..] != b"?" => String::from_utf8(host.to_vec()).ok()?,
        Reply::Text(_) | Reply::Nothing => asked.to_owned(),
        _ => return None,
    };
    Some(Address { host, port: u16::try_from(*port).ok()? })
}

/// To which node a command is sent on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot has moved there.
    Moved(Address),
    /// The slot is moving there, and this key may have gone already.
    Ask(Address),
}

impl Redirect {
    /// What an error says; from a node with this host.
    pub(crate) fn read(error: &str, asked: &str) -> Option<Self> {
        let mut words = error.split(' ');
        let (word, address) = (words.next()?, words.nth(1)?);
        let (host, port) = address.rsplit_once(':')?;
        let host = if host.is_empty() || host == "?" { asked } else { host.trim_matches(['[', ']']) };
        let address = Address { host: host.to_owned(), port: port.parse().ok()? };
        match word {
            "MOVED" => Some(Self::Moved(address)),
            "ASK" => Some(Self::Ask(address)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::decode;

    fn address(port: u16) -> Address {
        Address { host: "10.0.0.1".to_owned(), port }
    }

    #[test]
    fn slots_belong_to_the_first_node_of_their_range() {
        let text = b"*2\r\n*4\r\n:0\r\n:8191\r\n*3\r\n$8\r\n10.0.0.1\r\n:7000\r\n$1\r\na\r\n*3\r\n$8\r\n10.0.0.2\r\n:7001\r\n$1\r\nb\r\n\
            *3\r\n:8192\r\n:16383\r\n*4\r\n$0\r\n\r\n:7002\r\n$1\r\nc\r\n*0\r\n";
        let (reply, _) = decode(text, 100).unwrap().unwrap();
        let slots = Slots::read(&reply, "10.0.0.1").unwrap();
        assert_eq!(slots.nodes, [address(7000), address(7002)]);
        assert_eq!(
            [slots.owners[0], slots.owners[8191], slots.owners[8192], slots.owners[16383]].map(Option::unwrap),
            [0, 0, 1, 1]
        );
    }

    #[test]
    fn what_is_no_list_of_slots_is_none() {
        for wrong in
            [&b":1\r\n"[..], b"*1\r\n*2\r\n:0\r\n:1\r\n", b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n"]
        {
            let (reply, _) = decode(wrong, 100).unwrap().unwrap();
            assert_eq!(Slots::read(&reply, "a"), None, "{wrong:?}");
        }
    }

    #[test]
    fn redirect_says_where_to() {
        assert_eq!(Redirect::read("MOVED 12 10.0.0.1:7000", "b"), Some(Redirect::Moved(address(7000))));
        assert_eq!(Redirect::read("ASK 12 :7000", "10.0.0.1"), Some(Redirect::Ask(address(7000))));
        assert_eq!(Redirect::read("ERR syntax error", "b"), None);
    }
}
