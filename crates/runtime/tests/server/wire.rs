//! HTTP/2 frame by frame, for what no honest client sends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a call of the probe's method, without compression.
pub(crate) fn block(method: &str) -> Vec<u8> {
    let path = format!("/probe.v1.Probe/{method}");
    // POST and http from the static table; path, authority and content type as literals.
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(&[0x04][..], path.as_str()), (&[0x01], "probe"), (&[0x0f, 0x10], "application/grpc")] {
        block.extend(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    block
}

/// A header field without compression.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// A connection that says what it is told to.
pub(crate) struct Wire<T>(T);

impl Wire<TcpStream> {
    /// Connects and says the preface with these settings.
    pub(crate) async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::begin(socket, settings).await
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Says the preface with these settings.
    pub(crate) async fn begin(socket: T, settings: &[(u16, u32)]) -> Self {
        let mut wire = Self(socket);
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        wire.say(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await;
        wire
    }

    /// Sends bytes; whether the server still took them shows when it is listened to.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.0.write_all(bytes)).await.expect("the server reads");
    }

    /// Whether the server takes the bytes at all within `patience`.
    pub(crate) async fn takes(&mut self, bytes: &[u8], patience: Duration) -> bool {
        matches!(timeout(patience, self.0.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The next frame of this kind, `None` when the server has closed the connection.
    pub(crate) async fn next(&mut self, wanted: u8) -> Option<Vec<u8>> {
        self.next_of(&[wanted]).await.map(|(_, payload)| payload)
    }

    /// The next frame of one of these kinds, `None` when the server has closed the connection.
    pub(crate) async fn next_of(&mut self, wanted: &[u8]) -> Option<(u8, Vec<u8>)> {
        timeout(PATIENCE, async {
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await.ok()?;
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                self.0.read_exact(&mut payload).await.ok()?;
                if wanted.contains(&head[3]) {
                    return Some((head[3], payload));
                }
            }
        })
        .await
        .expect("a frame or an end")
    }

    /// Ends when the server has closed the connection; the error code of its GOAWAY, if it sent one.
    pub(crate) async fn closed(&mut self) -> Option<u32> {
        let told = self.next(GOAWAY).await;
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("an end");
        told.map(|payload| u32::from_be_bytes(payload[4..8].try_into().unwrap()))
    }
}
