//! The body of a request whose rest is read once nobody wants it any more, so that its connection can be used again.
//!
//! An answer may end before its request does: an upstream that has heard enough, a limit, a stream whose last chunk is still on its
//! way. HTTP/1.1 has said by then that the connection stays open, and a client that sends its next request finds it closed where
//! the rest was not read (RFC 9112, 9.3 and 9.6). HTTP/2 ends such a stream by itself.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{runtime::Handle, time::timeout};

/// The most that is read and thrown away, and the longest that the client is waited for. Whoever sends on loses its connection.
const BYTES: usize = 64 << 10;
const TIME: Duration = Duration::from_secs(1);

/// A body whose rest is read once it is dropped, within bounds.
pub struct DrainedBody<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    // Gone once it is dropped.
    body: Option<B>,
    is_drained: bool,
    is_begun: bool,
}

impl<B> DrainedBody<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    /// The body of a request that came in this version of HTTP. One that nobody began to read is left: its answer is a refusal, which
    /// says that the connection closes.
    pub fn new(body: B, version: Version) -> Self {
        Self { body: Some(body), is_drained: version < Version::HTTP_2, is_begun: false }
    }
}

impl<B> HttpBody for DrainedBody<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.is_begun = true;
        // It is there until it is dropped.
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl<B> Drop for DrainedBody<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let body = self.body.take().filter(|body| self.is_drained && self.is_begun && !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (body, Handle::try_current()) {
            // One of a connection at a time: it takes no request until this one is read.
            runtime.spawn(async move { timeout(TIME, drain(body)).await });
        }
    }
}

async fn drain<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::Notify,
    };

    use super::*;
    use crate::holding_body::HoldingBody;

    const ANSWER: &str = "all of it";

    /// Tells once it is dropped, after what it holds.
    struct Dropped<T>(Option<T>, Arc<Notify>);

    impl<T> Drop for Dropped<T> {
        fn drop(&mut self) {
            self.0.take();
            self.1.notify_one();
        }
    }

    /// Reads the first frame, and answers with a body that lets go of the rest at its end. The connection, and when that was.
    fn serve() -> (DuplexStream, Arc<Notify>) {
        let (client, server) = duplex(1 << 20);
        let dropped = Arc::new(Notify::new());
        let told = Arc::clone(&dropped);
        let service = service_fn(move |request: Request<Incoming>| {
            let told = Arc::clone(&told);
            async move {
                let version = request.version();
                let mut body = DrainedBody::new(request.into_body(), version);
                let _ = body.frame().await;
                let held = Dropped(Some(body), told);
                Ok::<_, Infallible>(Response::new(HoldingBody::new(Full::new(Bytes::from(ANSWER)), held)))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
        (client, dropped)
    }

    /// Reads until the answer has ended.
    async fn answer(client: &mut DuplexStream) -> String {
        let mut read = String::new();
        while !read.ends_with(ANSWER) {
            let mut bytes = [0; 1024];
            let count = client.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the connection ended after {read:?}");
            read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        read
    }

    const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    #[tokio::test]
    async fn connection_is_used_again_where_the_last_chunk_comes_after_the_answer() {
        let (mut client, dropped) = serve();
        client.write_all(POST).await.unwrap();
        let first = answer(&mut client).await;
        assert!(!first.contains("connection: close"), "{first}");
        dropped.notified().await;
        // Whatever the server does about it, it does before the rest comes.
        tokio::task::yield_now().await;
        client.write_all(b"3\r\ndef\r\n0\r\n\r\n").await.unwrap();
        client.write_all(GET).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_sends_no_end_is_waited_for_no_longer_than_its_time() {
        let (mut client, dropped) = serve();
        client.write_all(POST).await.unwrap();
        answer(&mut client).await;
        dropped.notified().await;
        let begun = tokio::time::Instant::now();
        assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 0);
        assert_eq!(begun.elapsed().as_secs(), TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_sends_on_loses_its_connection_after_the_bytes() {
        let (mut client, dropped) = serve();
        client.write_all(POST).await.unwrap();
        answer(&mut client).await;
        dropped.notified().await;
        let begun = tokio::time::Instant::now();
        client.write_all(format!("{:x}\r\n{}", 2 * BYTES, "x".repeat(2 * BYTES)).as_bytes()).await.unwrap();
        assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 0);
        assert!(begun.elapsed().is_zero(), "not by the time");
    }
}
