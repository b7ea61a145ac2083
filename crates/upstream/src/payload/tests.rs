use std::io;
use std::sync::atomic::AtomicUsize;

use futures_util::stream;
use h2::{Ping, client, server};
use http::Request;
use http_body_util::{Empty, Full, StreamBody};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::*;

/// A side of a connection that counts its writes.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(context, &joined)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Reads one request, and says how long its body was.
async fn read_one(io: DuplexStream) -> (usize, server::Connection<DuplexStream, Bytes>) {
    let mut connection = server::handshake(io).await.unwrap();
    let (mut request, _respond) = connection.accept().await.unwrap().unwrap();
    let read = async {
        let mut length = 0;
        while let Some(data) = request.body_mut().data().await {
            length += data.unwrap().len();
        }
        length
    };
    let length = tokio::select! {
        _ = connection.accept() => panic!("the connection ended"),
        length = read => length,
    };
    (length, connection)
}

/// In how many writes a request leaves, and how long its body is.
async fn sent<B>(mut payload: Payload<B>) -> (usize, usize)
where
    B: RequestBody,
{
    let (io, theirs) = duplex(1 << 20);
    let server = tokio::spawn(read_one(theirs));
    let writes = Arc::<AtomicUsize>::default();
    let counted = Counted { io, writes: Arc::clone(&writes) };
    let (mut send, mut connection) = client::Builder::new().handshake(counted).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    // After the second one, all that both sides say at the beginning is over.
    for _ in 0..2 {
        pings.ping(Ping::opaque()).await.unwrap();
    }
    writes.store(0, Ordering::Relaxed);
    let request = Request::post("http://shop/shop.v1.Shop/Buy").body(()).unwrap();
    let (_response, stream) = send.send_request(request, false).unwrap();
    // No answer comes, so that nothing goes on in a task.
    let (length, _connection) = match payload.begin(stream).await {
        Some(mut upload) => upload.until(server).await.unwrap(),
        None => server.await.unwrap(),
    };
    (writes.load(Ordering::Relaxed), length)
}

#[tokio::test]
async fn message_leaves_with_its_head_in_one_write() {
    for length in [0, 5, 255, 256, 10_000] {
        assert_eq!(sent(Payload::<Empty<Bytes>>::Whole(vec![7; length].into())).await, (1, length));
    }
}

#[tokio::test]
async fn streamed_body_that_is_there_whole_leaves_with_its_head_in_one_write() {
    let whole = Bytes::from(vec![7; 1000]);
    assert_eq!(sent(Payload::Stream(Full::new(whole.clone()))).await, (1, 1000));
    // As bodies of generated stubs, it does not say with its last frame that it is over.
    let frames = stream::iter([Ok::<_, io::Error>(Frame::data(whole))]);
    assert_eq!(sent(Payload::Stream(StreamBody::new(frames))).await, (1, 1000));
    assert_eq!(sent(Payload::Stream(Empty::new())).await, (1, 0));
}

#[tokio::test]
async fn streamed_body_of_several_frames_is_sent_whole() {
    let frames =
        ["one", "two", "three"].map(|text| Ok::<_, io::Error>(Frame::data(Bytes::from_static(text.as_bytes()))));
    let (_, length) = sent(Payload::Stream(StreamBody::new(stream::iter(frames)))).await;
    assert_eq!(length, 11);
}

#[tokio::test(start_paused = true)]
async fn time_of_a_request_that_comes_slowly_is_its_callers() {
    let (io, theirs) = duplex(1 << 16);
    let server = tokio::spawn(read_one(theirs));
    let (mut send, connection) = client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let begun = Instant::now();
    let late = stream::once(async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"late")))
    });
    let request = Request::post("http://shop/shop.v1.Shop/Buy").body(()).unwrap();
    let (_response, stream) = send.send_request(request, false).unwrap();
    let mut upload = Payload::Stream(StreamBody::new(Box::pin(late))).begin(stream).await.unwrap();
    assert_eq!(upload.sent_after(begun), None);
    assert_eq!(upload.until(server).await.unwrap().0, 4);
    assert!(upload.sent_after(begun) >= Some(Duration::from_secs(1)));
}
