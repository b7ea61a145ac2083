use super::*;
use crate::protocol::websocket::frame::{BINARY, TEXT};
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use std::{convert::Infallible, future::pending};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc::{Receiver, channel},
    task::JoinHandle,
};

const KEEP_ALIVE: KeepAlive = KeepAlive { interval: Duration::from_secs(30), timeout: Duration::from_secs(10) };

/// A client's frame, under a mask of zeros.
fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put(&mut frame, kind, payload);
    let head = frame.len() - payload.len();
    frame[1] |= 0x80;
    [&frame[..head], &[0; 4], payload].concat()
}

/// The server's side with this answer; the client's; and the messages as the call gets them.
fn open<B>(
    call: impl Future<Output = Response<B>> + Send + 'static,
    going_away: GoingAway,
) -> (JoinHandle<()>, DuplexStream, Receiver<Piece>)
where
    B: HttpBody<Data = Bytes, Error: Send> + Send + 'static,
{
    let (client, server) = duplex(1 << 10);
    let (messages, received) = channel(1);
    (tokio::spawn(serve(server, call, messages, KEEP_ALIVE, going_away)), client, received)
}

fn never() -> GoingAway {
    Box::pin(pending())
}

/// A call that is never answered.
fn unanswered() -> impl Future<Output = Response<Full<Bytes>>> + Send + 'static {
    pending()
}

async fn read(client: &mut DuplexStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    client.read_exact(&mut read).await.unwrap();
    read
}

#[tokio::test(start_paused = true)]
async fn ping_is_answered_while_the_call_has_no_answer_yet() {
    let (_serving, mut client, _received) = open(unanswered(), never());
    client.write_all(&masked(PING, b"alive?")).await.unwrap();
    assert_eq!(read(&mut client, 8).await, b"\x8a\x06alive?");
}

#[tokio::test(start_paused = true)]
async fn silent_client_is_pinged_and_left_where_it_does_not_answer() {
    let begun = tokio::time::Instant::now();
    let (serving, mut client, _received) = open(unanswered(), never());
    assert_eq!((read(&mut client, 2).await, begun.elapsed().as_secs()), (vec![0x89, 0], 30));
    client.write_all(&masked(PONG, b"")).await.unwrap();
    assert_eq!((read(&mut client, 2).await, begun.elapsed().as_secs()), (vec![0x89, 0], 60));
    serving.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 70);
}

#[tokio::test(start_paused = true)]
async fn close_of_the_client_cancels_the_call_and_is_answered() {
    let (held, is_held) = std::sync::mpsc::channel::<()>();
    let call = async move {
        let _held = held;
        unanswered().await
    };
    let (serving, mut client, _received) = open(call, never());
    client.write_all(&masked(8, &[3, 232])).await.unwrap();
    assert_eq!(read(&mut client, 4).await, [0x88, 2, 3, 232]);
    drop(client);
    serving.await.unwrap();
    assert_eq!(is_held.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
}

#[tokio::test(start_paused = true)]
async fn client_that_goes_without_a_close_ends_the_call() {
    let (serving, client, _received) = open(unanswered(), never());
    drop(client);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_websocket_is_closed_as_such() {
    let (_serving, mut client, _received) = open(unanswered(), never());
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let close = read(&mut client, 4).await;
    assert_eq!((close[0], &close[2..]), (0x88, &PROTOCOL_ERROR.to_be_bytes()[..]));
}

#[tokio::test(start_paused = true)]
async fn server_that_is_about_to_go_says_so() {
    let (_serving, mut client, _received) = open(unanswered(), Box::pin(tokio::time::sleep(Duration::from_secs(1))));
    let close = read(&mut client, 4).await;
    assert_eq!((close[0], &close[2..]), (0x88, &GOING_AWAY.to_be_bytes()[..]));
}

#[tokio::test(start_paused = true)]
async fn pong_goes_between_the_frames_of_an_answer() {
    let mut frame = Vec::new();
    put(&mut frame, BINARY, &[7; 3000]);
    let frames = stream::iter([Bytes::from(frame.clone()), frame.clone().into()]);
    let body = StreamBody::new(frames.map(|frame| Ok::<_, Infallible>(Frame::data(frame))).chain(stream::pending()));
    let (_serving, mut client, _received) = open(async { Response::new(body) }, never());
    // The first frame is on its way, and waits to be read.
    tokio::task::yield_now().await;
    client.write_all(&masked(PING, b"?")).await.unwrap();
    let read = read(&mut client, 2 * frame.len() + 3).await;
    let pong = read.windows(3).position(|bytes| bytes == b"\x8a\x01?").unwrap();
    assert!([frame.len(), 2 * frame.len()].contains(&pong), "{pong}");
}

#[tokio::test(start_paused = true)]
async fn ping_behind_messages_that_are_not_taken_is_answered() {
    let (_serving, mut client, _received) = open(unanswered(), never());
    for _ in 0..10 {
        client.write_all(&masked(TEXT, &[b' '; 1000])).await.unwrap();
    }
    client.write_all(&masked(PING, b"alive?")).await.unwrap();
    assert_eq!(read(&mut client, 8).await, b"\x8a\x06alive?");
}

#[tokio::test(start_paused = true)]
async fn close_behind_messages_that_are_not_taken_ends_the_call() {
    let (serving, mut client, _received) = open(unanswered(), never());
    for _ in 0..10 {
        client.write_all(&masked(TEXT, &[b' '; 1000])).await.unwrap();
    }
    client.write_all(&masked(8, &[3, 232])).await.unwrap();
    assert_eq!(read(&mut client, 4).await, [0x88, 2, 3, 232]);
    drop(client);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_that_were_read_ahead_are_taken_in_their_order() {
    let (_serving, mut client, mut received) = open(unanswered(), never());
    for number in 0..10 {
        client.write_all(&masked(TEXT, &[number])).await.unwrap();
    }
    client.write_all(&masked(PING, b"")).await.unwrap();
    read(&mut client, 2).await;
    for number in 0..10 {
        assert_eq!(&*received.recv().await.unwrap().bytes, [number]);
    }
}

#[tokio::test(start_paused = true)]
async fn client_whose_messages_are_not_taken_is_not_read() {
    let (_serving, mut client, mut received) = open(unanswered(), never());
    let writing = tokio::spawn(async move {
        for _ in 0..100 {
            client.write_all(&masked(TEXT, &[b' '; 1000])).await.unwrap();
        }
        client
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!writing.is_finished(), "what nobody takes fills a small buffer");
    let mut bytes = 0;
    while bytes < 100_000 {
        bytes += received.recv().await.unwrap().bytes.len();
    }
    writing.await.unwrap();
}
