//! What a wire is said to lose is lost, and nothing else.

use std::{
    fs::File,
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use accord_fabric::wire::{Lost, Wire};
use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a packet is waited for that comes.
const SOON: Duration = Duration::from_secs(10);
/// How long one is waited for that does not: nobody says that it was lost.
const LOST: Duration = Duration::from_millis(200);

/// A socket at the end of a wire.
fn socket_at(wire: &Wire) -> Result<UdpSocket> {
    let (namespace, host) = (File::open(wire.namespace())?, wire.host());
    // The namespace is that of a thread: this one stays where it is.
    let bound = thread::spawn(move || -> Result<UdpSocket> {
        move_into_link_name_space(rustix::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))?;
        Ok(UdpSocket::bind((host, 0))?)
    });
    bound.join().ok().context("the thread ends in order")?
}

/// Whether a packet of one arrives at the other.
fn arrives(from: &UdpSocket, at: &UdpSocket, within: Duration) -> Result<bool> {
    at.set_read_timeout(Some(within))?;
    from.send_to(b"packet", at.local_addr()?)?;
    Ok(at.recv(&mut [0; 16]).is_ok())
}

#[test]
fn packets_are_lost_in_the_direction_that_is_said_until_the_wire_is_healed() -> Result<()> {
    let (wire, other) = (Wire::lay(101)?, Wire::lay(102)?);
    let home = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let (end, untouched) = (socket_at(&wire)?, socket_at(&other)?);
    for (lost, is_sent, is_received) in [
        (None, true, true),
        (Some(Lost::Sent), false, true),
        (Some(Lost::Received), true, false),
        (Some(Lost::Both), false, false),
    ] {
        wire.heal()?;
        lost.map_or(Ok(()), |lost| wire.lose(lost))?;
        let within = |arrives| if arrives { SOON } else { LOST };
        assert_eq!(arrives(&end, &home, within(is_sent))?, is_sent, "sent by its end: {lost:?}");
        assert_eq!(arrives(&home, &end, within(is_received))?, is_received, "sent to its end: {lost:?}");
        assert!(arrives(&untouched, &home, SOON)? && arrives(&home, &untouched, SOON)?, "another wire: {lost:?}");
    }
    Ok(())
}
