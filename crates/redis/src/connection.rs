//! One connection to a server: commands go out as they come, and are answered in their order.

use std::{collections::VecDeque, future::ready, io, pin::pin, sync::Arc};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
};

use crate::reply::{Reply, decode};

/// Bytes of commands that are sent in one write, and more by one command.
const BATCH: usize = 64 * 1024;

/// A connection, for many at a time.
pub(crate) struct Connection {
    commands: Sender<Sent>,
    /// Commands that may be in flight: each holds its place until it is answered, whether somebody still waits for that or not.
    places: Arc<Semaphore>,
}

struct Sent {
    commands: Vec<u8>,
    waiter: Waiter,
}

/// Who waits for the replies to commands that were sent together.
struct Waiter {
    replies: Vec<Reply>,
    missing: usize,
    told: oneshot::Sender<Vec<Reply>>,
    _place: OwnedSemaphorePermit,
}

/// Why a command has no reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// As many are in flight as may be.
    Busy,
    /// The connection ended.
    Closed,
}

impl Connection {
    /// A connection over a stream, with what has to run for it to be one. That ends with the connection.
    pub(crate) fn over<S>(
        stream: S,
        max_in_flight: usize,
        max_reply_bytes: usize,
    ) -> (Self, impl Future<Output = io::Error>)
    where
        S: AsyncRead + AsyncWrite,
    {
        // Each command has a place, so there is always room for it.
        let (commands, received) = mpsc::channel(max_in_flight);
        let places = Arc::new(Semaphore::new(max_in_flight));
        (Self { commands, places }, drive(stream, received, max_in_flight, max_reply_bytes))
    }

    /// Sends so many commands, which nobody else's come between, and waits for their replies, without a bound.
    pub(crate) async fn ask(&self, commands: Vec<u8>, count: usize) -> Result<Vec<Reply>, NoReply> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NoReply::Busy)?;
        let (told, received) = oneshot::channel();
        let waiter = Waiter { replies: Vec::with_capacity(count), missing: count, told, _place: place };
        let sent = Sent { commands, waiter };
        self.commands.try_send(sent).map_err(|_| NoReply::Closed)?;
        received.await.map_err(|_| NoReply::Closed)
    }
}

async fn drive(
    stream: impl AsyncRead + AsyncWrite,
    commands: Receiver<Sent>,
    max_in_flight: usize,
    max_reply_bytes: usize,
) -> io::Error {
    let (input, output) = tokio::io::split(stream);
    let (sent, waiting) = mpsc::channel(max_in_flight);
    let mut receiving = pin!(receive(input, waiting, max_reply_bytes));
    let ended = tokio::select! {
        biased;
        ended = &mut receiving => ended,
        // What it said before it closed, such as an alert of TLS, tells more than that it closed.
        ended = send(output, commands, sent) => tokio::select! {
            biased;
            told = receiving => told,
            () = ready(()) => ended,
        },
    };
    ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// What has come until a write begins goes out with it.
async fn send(
    mut output: impl AsyncWrite + Unpin,
    mut commands: Receiver<Sent>,
    sent: Sender<Waiter>,
) -> io::Result<()> {
    let mut batch = Vec::new();
    while let Some(mut next) = commands.recv().await {
        loop {
            // Whoever has given up is not counted.
            if !next.waiter.told.is_closed() {
                batch.append(&mut next.commands);
                sent.try_send(next.waiter).map_err(io::Error::other)?;
            }
            let Some(more) = (batch.len() < BATCH).then(|| commands.try_recv().ok()).flatten() else { break };
            next = more;
        }
        output.write_all(&batch).await?;
        output.flush().await?;
        batch.clear();
    }
    Ok(())
}

async fn receive(
    mut input: impl AsyncRead + Unpin,
    mut waiting: Receiver<Waiter>,
    max_reply_bytes: usize,
) -> io::Result<()> {
    let (mut buffer, mut waiters) = (BytesMut::new(), VecDeque::new());
    loop {
        while let Some((reply, length)) = decode(&buffer, max_reply_bytes).map_err(io::Error::other)? {
            buffer.advance(length);
            while let Ok(waiter) = waiting.try_recv() {
                waiters.push_back(waiter);
            }
            let waiter: &mut Waiter =
                waiters.front_mut().ok_or_else(|| io::Error::other("it answers what nobody asked"))?;
            waiter.replies.push(reply);
            waiter.missing -= 1;
            if waiter.missing == 0
                && let Some(waiter) = waiters.pop_front()
            {
                // Nobody may wait for it any more.
                let _ = waiter.told.send(waiter.replies);
            }
        }
        if input.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::command;
    use bytes::Bytes;
    use std::time::Duration;
    use tokio::{io::DuplexStream, task::JoinHandle, time::timeout};

    fn connected(max_in_flight: usize) -> (Connection, DuplexStream, JoinHandle<io::Error>) {
        let (near, far) = tokio::io::duplex(64);
        let (connection, driving) = Connection::over(near, max_in_flight, 100);
        (connection, far, tokio::spawn(driving))
    }

    /// Reads a command to its end, and answers it.
    async fn answer(server: &mut DuplexStream, name: &str, reply: &[u8]) {
        let mut read = command(&[name]);
        server.read_exact(&mut read).await.unwrap();
        server.write_all(reply).await.unwrap();
    }

    fn numbers(numbers: &[i64]) -> Vec<Reply> {
        numbers.iter().copied().map(Reply::Integer).collect()
    }

    #[tokio::test]
    async fn replies_go_to_those_who_asked_in_their_order() {
        let (connection, mut server, _driving) = connected(10);
        let pair = [command(&["TWO"]), command(&["THREE"])].concat();
        let asked = async { tokio::join!(connection.ask(command(&["ONE"]), 1), connection.ask(pair, 2)) };
        let answering = async {
            let mut read = vec![0; [command(&["ONE"]), command(&["TWO"]), command(&["THREE"])].concat().len()];
            server.read_exact(&mut read).await.unwrap();
            server.write_all(b":1\r\n:").await.unwrap();
            server.write_all(b"2\r\n:3\r\n").await.unwrap();
        };
        let ((one, two), ()) = tokio::join!(asked, answering);
        assert_eq!((one, two), (Ok(numbers(&[1])), Ok(numbers(&[2, 3]))));
    }

    #[tokio::test(start_paused = true)]
    async fn command_holds_its_place_until_it_is_answered_though_nobody_waits() {
        let (connection, mut server, _driving) = connected(1);
        assert!(timeout(Duration::from_secs(1), connection.ask(command(&["ONE"]), 1)).await.is_err());
        assert_eq!(connection.ask(command(&["TWO"]), 1).await, Err(NoReply::Busy));
        answer(&mut server, "ONE", b":1\r\n").await;
        while connection.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        let (three, ()) = tokio::join!(connection.ask(command(&["THREE"]), 1), answer(&mut server, "THREE", b":3\r\n"));
        assert_eq!(three, Ok(numbers(&[3])));
    }

    #[tokio::test]
    async fn reply_over_its_bound_ends_the_connection() {
        let (connection, mut server, driving) = connected(1);
        let (reply, ()) = tokio::join!(connection.ask(command(&["GET"]), 1), answer(&mut server, "GET", b"$5000\r\n"));
        assert_eq!(reply, Err(NoReply::Closed));
        assert!(driving.await.unwrap().to_string().contains("longer than anything"));
    }

    #[tokio::test]
    async fn value_of_any_bytes_is_a_reply() {
        let (connection, mut server, _driving) = connected(1);
        let (reply, ()) =
            tokio::join!(connection.ask(command(&["GET"]), 1), answer(&mut server, "GET", b"$4\r\n\0\xff\r\n\r\n"));
        assert_eq!(reply, Ok(vec![Reply::Text(Bytes::from_static(b"\0\xff\r\n"))]));
    }

    #[tokio::test]
    async fn command_on_a_connection_that_ends_or_answers_nonsense_is_closed() {
        let (connection, server, _driving) = connected(1);
        drop(server);
        assert_eq!(connection.ask(command(&["ONE"]), 1).await, Err(NoReply::Closed));
        let (connection, mut server, driving) = connected(1);
        server.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        assert_eq!(connection.ask(command(&["ONE"]), 1).await, Err(NoReply::Closed));
        assert!(driving.await.unwrap().to_string().contains("not the protocol of Redis"));
    }
}
