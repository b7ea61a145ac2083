//! The PROXY protocol, version 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): a load balancer that passes connections on tells
//! in their first bytes by whom they were opened.

use std::{io, net::SocketAddr};

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// What every header begins with, before its addresses: 12 bytes of signature, version and command, family, length.
const BEGINNING: usize = 16;
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses take 216 bytes at the most; what else a balancer may add is not looked at.
const LONGEST: u16 = 4096;

/// Why a header can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("it has none of version 2; have the load balancer send it, or switch `proxy_protocol` off for this port")]
    Missing,
    #[error(
        "it did not come within `header_timeout`; have the load balancer send it, or switch `proxy_protocol` off for this port"
    )]
    Late,
    #[error("it has {0} bytes after its beginning, and may have {LONGEST}")]
    TooLong(u16),
    #[error("it is malformed")]
    Malformed,
    #[error("it ended early: {0}")]
    Cut(#[from] io::Error),
    /// As load balancers do to see whether somebody listens.
    #[error("the connection was closed without a byte")]
    Empty,
}

/// Takes the header from the connection, and not a byte more. Who opened it: at the balancer, or, where that calls for itself
/// (LOCAL) or does not know, the peer.
pub(crate) async fn source(socket: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, ProxyHeaderError> {
    let mut header = vec![0; BEGINNING];
    let begun = socket.read(&mut header[..SIGNATURE.len()]).await?;
    if begun == 0 {
        return Err(ProxyHeaderError::Empty);
    }
    socket.read_exact(&mut header[begun..SIGNATURE.len()]).await?;
    if header[..SIGNATURE.len()] != SIGNATURE {
        return Err(ProxyHeaderError::Missing);
    }
    socket.read_exact(&mut header[SIGNATURE.len()..]).await?;
    let length = u16::from_be_bytes([header[14], header[15]]);
    if length > LONGEST {
        return Err(ProxyHeaderError::TooLong(length));
    }
    header.resize(BEGINNING + usize::from(length), 0);
    socket.read_exact(&mut header[BEGINNING..]).await?;
    let (header, _) =
        ProxyHeader::parse(&header, ParseConfig::default()).map_err(|_error| ProxyHeaderError::Malformed)?;
    Ok(header.proxied_address().map_or(peer, |proxied| proxied.source))
}
