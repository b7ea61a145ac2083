//! A peer that speaks HTTP/2 frame by frame, for what no well-behaved server does.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::server::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:status: 200` and `content-type: application/grpc`, in HPACK.
const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// Where peers are reached.
pub(crate) struct Listener {
    pub url: String,
    listener: TcpListener,
}

/// One connection.
pub(crate) struct Peer(TcpStream);

#[derive(Debug)]
pub(crate) struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// An address that refuses connections while its socket is held: it is bound, and does not listen.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

impl Listener {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { url: format!("http://{}", listener.local_addr().unwrap()), listener }
    }

    /// A connection on which nothing was said.
    pub(crate) async fn accept_silently(&self) -> TcpStream {
        let (socket, _) = timeout(PATIENCE, self.listener.accept()).await.expect("no connection came").unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// A connection that stands: settings were exchanged, and the first ping answered.
    pub(crate) async fn accept(&self, settings: &[u8]) -> Peer {
        let mut peer = Peer(self.accept_silently().await);
        peer.0.read_exact(&mut [0; 24]).await.unwrap();
        peer.write(SETTINGS, 0, 0, settings).await;
        let (mut is_acknowledged, mut is_pinged) = (false, false);
        while !is_acknowledged || !is_pinged {
            let frame = peer.read().await.unwrap();
            match frame.kind {
                SETTINGS if frame.flags == ACK => is_acknowledged = true,
                SETTINGS => peer.write(SETTINGS, ACK, 0, &[]).await,
                PING => {
                    peer.write(PING, ACK, 0, &frame.payload).await;
                    is_pinged = true;
                }
                _ => {}
            }
        }
        peer
    }
}

impl Peer {
    /// The next frame; none where the connection was closed.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.read_frame()).await.expect("no frame came")
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of a kind.
    pub(crate) async fn next(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().await.expect("the connection was closed");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    pub(crate) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn head(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS, stream, HEAD).await;
    }

    /// OK with an empty message.
    pub(crate) async fn answer(&mut self, stream: u32) {
        self.head(stream).await;
        self.write(DATA, 0, stream, &[0; 5]).await;
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS).await;
    }

    /// Takes no more calls than those up to `last`.
    pub(crate) async fn go_away(&mut self, last: u32, code: u32) {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.write(GOAWAY, 0, 0, &payload).await;
    }

    /// Ends the connection, and waits until the other side has seen it.
    pub(crate) async fn close(mut self) {
        self.0.shutdown().await.unwrap();
        while self.read().await.is_some() {}
    }
}
