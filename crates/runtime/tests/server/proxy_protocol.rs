//! Connections by a load balancer that tells by whom they were opened (PROXY protocol, version 2).

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use accord_runtime::{
    server::{ListenConfig, Listener, Peer},
    shutdown::Shutdown,
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower::service_fn;

const PATIENCE: Duration = Duration::from_secs(20);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n";

/// Serves whatever is asked by the address of whoever asks.
async fn serve(config: ListenConfig) -> SocketAddr {
    let listener = Listener::bind(&ListenConfig { proxy_protocol: true, ..config }).await.unwrap();
    let address = listener.address();
    let service = service_fn(async |request: Request<Incoming>| {
        let peer = request.extensions().get::<Peer>().unwrap().address;
        Ok::<_, Infallible>(Response::new(Full::from(peer.to_string())))
    });
    tokio::spawn(listener.serve(service, Shutdown::new(Duration::from_secs(1))));
    address
}

/// Version 2 and a command, the family, and what the length says comes.
fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

/// From 203.0.113.7:4321 to 198.51.100.1:443.
fn by_ipv4() -> Vec<u8> {
    header(1, 0x11, &[203, 0, 113, 7, 198, 51, 100, 1, 0x10, 0xe1, 0x01, 0xbb])
}

/// What comes back, and by whom the connection was opened.
async fn ask(address: SocketAddr, bytes: &[u8]) -> (String, SocketAddr) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let own = socket.local_addr().unwrap();
    // Where it is refused, it may be closed before all is written.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("an end");
    (String::from_utf8(answer).unwrap(), own)
}

#[tokio::test]
async fn peer_is_whoever_opened_the_connection_at_the_load_balancer() {
    let address = serve(ListenConfig::default()).await;
    let (answer, _) = ask(address, &[&by_ipv4(), REQUEST].concat()).await;
    assert!(answer.ends_with("\r\n\r\n203.0.113.7:4321"), "{answer}");
    let mut addresses = [0; 36];
    addresses[..2].copy_from_slice(&[0x20, 0x01]);
    (addresses[15], addresses[33]) = (9, 80);
    let (answer, _) = ask(address, &[&header(1, 0x21, &addresses), REQUEST].concat()).await;
    assert!(answer.ends_with("\r\n\r\n[2001::9]:80"), "{answer}");
}

#[tokio::test]
async fn what_else_the_load_balancer_adds_to_the_header_is_passed_over() {
    let address = serve(ListenConfig::default()).await;
    let mut rest = by_ipv4()[16..].to_vec();
    // PP2_TYPE_AUTHORITY, then what looks like a request.
    rest.extend([&[0x02, 0, 4], &b"shop"[..], &[0xe0, 0, 14], b"GET / HTTP/1.1"].concat());
    let (answer, _) = ask(address, &[&header(1, 0x11, &rest), REQUEST].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n203.0.113.7:4321"), "{answer}");
}

#[tokio::test]
async fn load_balancer_that_calls_for_itself_is_the_peer() {
    let address = serve(ListenConfig::default()).await;
    for header in [header(0, 0, &[]), header(0, 0x11, &by_ipv4()[16..]), header(1, 0, &[])] {
        let (answer, own) = ask(address, &[&header, REQUEST].concat()).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{own}")), "{answer}");
    }
}

#[tokio::test]
async fn connection_without_a_header_of_version_2_is_closed_unanswered() {
    let address = serve(ListenConfig::default()).await;
    let long = header(1, 0x11, &[0; 5000]);
    let others: [&[u8]; 6] = [
        REQUEST,
        b"PROXY TCP4 203.0.113.7 198.51.100.1 4321 443\r\nGET / HTTP/1.1\r\nhost: probe\r\n\r\n",
        &[&header(1, 0x11, &[1, 2, 3]), REQUEST].concat(),
        &[&header(1, 0x77, &[0; 12]), REQUEST].concat(),
        &[&header(7, 0x11, &by_ipv4()[16..]), REQUEST].concat(),
        &[&long, REQUEST].concat(),
    ];
    for bytes in others {
        let (answer, _) = ask(address, bytes).await;
        assert_eq!(answer, "", "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn header_that_does_not_come_in_time_ends_the_connection() {
    let address = serve(ListenConfig { header_timeout: Duration::from_millis(100), ..ListenConfig::default() }).await;
    assert_eq!(ask(address, &by_ipv4()[..20]).await.0, "");
}

/// Half of four connections: the balancer's own address would have its share after two.
#[tokio::test]
async fn share_of_connections_is_counted_by_the_address_in_the_header() {
    let address = serve(ListenConfig { max_connections: 4, ..ListenConfig::default() }).await;
    let open = async |last: u8| {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = header(1, 0x11, &[203, 0, 113, last, 198, 51, 100, 1, 0, 1, 0, 80]);
        let request = b"GET / HTTP/1.1\r\nhost: probe\r\n\r\n";
        socket.write_all(&[&head[..], request].concat()).await.unwrap();
        let mut beginning = [0; 12];
        let answered = timeout(PATIENCE, socket.read_exact(&mut beginning)).await.expect("an end").is_ok();
        (answered, socket)
    };
    let first = [open(1).await, open(2).await];
    assert!(first.iter().all(|(answered, _)| *answered), "of two addresses");
    let third = open(3).await;
    assert!(third.0, "of a third");
    assert!(!open(1).await.0, "more of the first than its share");
}
