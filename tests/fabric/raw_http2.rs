//! HTTP/2 frame by frame, for what no honest client does: streams that nobody reads, bodies that never end.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// The longest that the server may take to say something.
const BOUND: Duration = Duration::from_secs(20);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The type of the frame that ends a stream.
pub const RST_STREAM: u8 = 3;

// Frame types and flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

// Fields of the static table (RFC 7541, appendix A).
const GET: u8 = 0x82;
const POST: u8 = 0x83;
const HTTP: u8 = 0x86;

/// The most that a frame carries.
const FRAME: usize = 16 << 10;

/// One frame, as it came.
#[derive(Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A frame, as it is written.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection that says what it is told to, and reads nothing unless it is told to.
pub struct RawConnection {
    socket: TcpStream,
    address: SocketAddr,
    next_stream: u32,
}

impl RawConnection {
    /// Connects from an address of this machine. The server may send `window` bytes of each answer.
    pub async fn open(address: SocketAddr, from: IpAddr, window: u32) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let socket = socket.connect(address).await?;
        socket.set_nodelay(true)?;
        let mut connection = Self { socket, address, next_stream: 1 };
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
        connection.send(&[PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()).await?;
        Ok(connection)
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(BOUND, self.socket.write_all(bytes)).await.context("the server does not read")??;
        Ok(())
    }

    /// Opens a stream with a gRPC call, further headers and what is there of its body, which goes on unless it `ends`. The
    /// number of the stream.
    pub async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8], ends: bool) -> Result<u32> {
        let own = [("content-type", "application/grpc"), ("te", "trailers")];
        self.begin(POST, path, &[&own, headers].concat(), body, ends).await
    }

    /// Opens a stream with a GET in HTTP.
    pub async fn get(&mut self, path: &str) -> Result<u32> {
        self.begin(GET, path, &[], &[], true).await
    }

    /// Opens a stream with a POST of JSON in HTTP, with further headers.
    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<u32> {
        let own = [("content-type", "application/json")];
        self.begin(POST, path, &[&own, headers].concat(), body, true).await
    }

    async fn begin(
        &mut self,
        method: u8,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        ends: bool,
    ) -> Result<u32> {
        let (stream, authority) = (self.next_stream, self.address.to_string());
        self.next_stream += 2;
        let mut block = vec![method, HTTP];
        for (name, value) in [(":path", path), (":authority", &authority)].iter().chain(headers) {
            literal(&mut block, name, value);
        }
        let flags = if body.is_empty() && ends { END_HEADERS | END_STREAM } else { END_HEADERS };
        let mut bytes = frame(HEADERS, flags, stream, &block);
        let mut chunks = body.chunks(FRAME).peekable();
        while let Some(chunk) = chunks.next() {
            let flags = if ends && chunks.peek().is_none() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, flags, stream, chunk));
        }
        self.send(&bytes).await?;
        Ok(stream)
    }

    /// Reads on until the server closes the connection, and answers its pings: a peer that lives, and gives no window.
    pub async fn stay(mut self) -> Result<()> {
        while let Some(frame) = self.read().await {
            if frame.kind == PING && frame.flags & ACK == 0 {
                self.send(&self::frame(PING, ACK, 0, &frame.payload)).await?;
            }
        }
        Ok(())
    }

    /// The next frame; none where the server has closed the connection.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        timeout(BOUND, self.read()).await.context("the server says nothing")
    }

    /// Reads until so many answers have begun. How many of them go on: the others were refused with their head.
    pub async fn answers(&mut self, count: usize) -> Result<usize> {
        let (mut begun, mut go_on) = (0, 0);
        while begun < count {
            let frame = self.next().await?.context("the server closed the connection")?;
            if frame.kind == HEADERS {
                begun += 1;
                go_on += usize::from(frame.flags & END_STREAM == 0);
            }
        }
        Ok(go_on)
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }
}

/// A header field without compression and without a place in the table (RFC 7541, 6.2.2).
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        // A length of seven bits; what they don't tell follows in groups of seven more (RFC 7541, 5.1).
        block.push(u8::try_from(text.len()).map_or(127, |length| length.min(127)));
        let mut left = text.len().checked_sub(127);
        while let Some(rest) = left {
            let is_last = rest < 128;
            let seven_bits = u8::try_from(rest % 128).unwrap_or_default();
            block.push(if is_last { seven_bits } else { seven_bits | 128 });
            left = (!is_last).then_some(rest / 128);
        }
        block.extend(text.as_bytes());
    }
}
