//! What one client can hold of the gateway: calls that don't end, and bytes in memory.

use std::time::Duration;

use accord_fabric::{Fabric, raw_http2::RawConnection};
use anyhow::Result;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{ATTACKER, KEY, NAMESPACE};

/// The most that the gateway lets a connection open.
const STREAMS: usize = 100;
/// Just below the largest request.
const BODY: usize = 4_190_100;
/// How long a body is sent before it is left as it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bodies that are on their way at a time.
const SENDERS: usize = 50;

/// Connections that are open until this is dropped.
pub(super) type Connections = JoinSet<()>;

/// Streams of answers, with no window to write them into.
pub(super) async fn stalled_streams(fabric: &Fabric, token: &str, count: usize) -> Result<Connections> {
    let bearer = ("authorization", &*format!("Bearer {token}"));
    let mut connections = Connections::new();
    for streams in spread(count) {
        let mut connection = RawConnection::open(fabric.gateway.listen, ATTACKER, 0).await?;
        for _ in 0..streams {
            connection.call("/catalog.v1.ProductService/WatchProducts", &[bearer], &[0; 5], true).await?;
        }
        connection.answers(streams).await?;
        connections.spawn(async move { drop(connection.stay().await) });
    }
    Ok(connections)
}

/// Answers that the gateway has made of a whole message, with no window to write them into.
pub(super) async fn unread_answers(fabric: &Fabric, token: &str, count: usize) -> Result<Connections> {
    let bearer = ("authorization", &*format!("Bearer {token}"));
    let request = json!({ "namespace": NAMESPACE, "key": KEY }).to_string();
    let mut connections = Connections::new();
    for streams in spread(count) {
        let mut connection = RawConnection::open(fabric.gateway.listen, ATTACKER, 0).await?;
        for _ in 0..streams {
            connection.post("/accord.cache.v1.CacheService/Get", &[bearer], request.as_bytes()).await?;
        }
        connection.answers(streams).await?;
        connections.spawn(async move { drop(connection.stay().await) });
    }
    Ok(connections)
}

/// So many streams on each connection.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(STREAMS).map(move |begun| STREAMS.min(count - begun))
}

/// Requests whose last byte never comes.
pub(super) async fn half_sent_bodies(fabric: &Fabric, token: &str, count: usize) -> Result<Vec<TcpStream>> {
    let head = "POST /v1/products HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n";
    let mut request =
        format!("{head}authorization: Bearer {token}\r\nidempotency-key: attack\r\ncontent-length: {BODY}\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + BODY - 1, b' ');
    let (request, address) = (bytes::Bytes::from(request), fabric.gateway.listen);
    let (mut senders, mut sockets) = (JoinSet::new(), Vec::new());
    for _ in 0..count {
        if senders.len() == SENDERS {
            sockets.extend(senders.join_next().await.transpose()?.transpose()?);
        }
        let request = request.clone();
        senders.spawn(async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((ATTACKER, 0).into())?;
            let mut socket = socket.connect(address).await?;
            // Whoever is refused in the middle is closed, and need not send the rest.
            let _ = timeout(PATIENCE, socket.write_all(&request)).await;
            Ok::<_, std::io::Error>(socket)
        });
    }
    while let Some(sent) = senders.join_next().await {
        sockets.push(sent??);
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_spread_over_as_many_connections_as_they_need() {
        assert_eq!(spread(250).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(spread(100).collect::<Vec<_>>(), [100]);
        assert_eq!(spread(0).count(), 0);
    }
}
