//! A proxy of PostgreSQL's protocol that sees statements, and holds one of them: before the server gets it, or after the server has
//! carried it out and before the client hears of it. Whoever asked can be killed there.
//!
//! Each connection is carried by rounds: what the client sends before it waits, then all that the server answers. A second round waits
//! for the answer to the first. The client has to speak without TLS (`sslmode=disable`).

use std::{io, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::BytesMut;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use super::frontend::{Messages, Round, Statements};

/// What is waited for comes within it, on a loaded machine as well.
const BOUND: Duration = Duration::from_mins(1);

/// A statement that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// Whether it is of a transaction, its BEGIN and its end included.
    pub is_in_transaction: bool,
}

/// On which side of the server's work a statement is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server does not get it.
    Before,
    /// The server has answered, and the client does not hear of it.
    After,
}

/// The proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct StatementProxy {
    address: SocketAddr,
    progress: watch::Sender<Progress>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Progress {
    /// Which statements are counted.
    counts: fn(&Statement) -> bool,
    /// The counted one that is held, from 0.
    stop: Option<(usize, Side)>,
    /// How many of the counted ones have come.
    counted: usize,
    /// Those that the server has answered, counted or not, in that order.
    answered: Vec<Statement>,
    is_held: bool,
    /// Connections to the server.
    open: usize,
}

impl StatementProxy {
    /// Starts one before this server, on a free port of loopback.
    pub async fn start(server: SocketAddr, counts: fn(&Statement) -> bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let progress = Progress { counts, stop: None, counted: 0, answered: Vec::new(), is_held: false, open: 0 };
        let progress = watch::Sender::new(progress);
        let accepting = tokio::spawn(accept(listener, server, progress.clone()));
        Ok(Self { address, progress, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts anew, and holds the statement that comes at this place of those that are counted.
    pub fn count_from_now(&self, stop: Option<(usize, Side)>) {
        self.progress.send_modify(|progress| {
            (progress.stop, progress.counted, progress.is_held) = (stop, 0, false);
            progress.answered.clear();
        });
    }

    /// The counted statements that the server has answered.
    pub fn counted(&self) -> Vec<Statement> {
        let progress = self.progress.borrow();
        progress.answered.iter().filter(|statement| (progress.counts)(statement)).cloned().collect()
    }

    /// Waits until a statement is held.
    pub async fn held(&self) -> Result<()> {
        self.wait("no statement came to be held", |progress| progress.is_held).await
    }

    /// Waits until the server has answered a statement that begins so.
    pub async fn answered(&self, start: &str) -> Result<()> {
        let is = |progress: &Progress| progress.answered.iter().any(|statement| statement.sql.starts_with(start));
        self.wait(&format!("nobody asked {start}"), is).await
    }

    /// Waits until the server has ended all connections, and so has rolled back what was begun on them.
    pub async fn ended(&self) -> Result<()> {
        self.wait("the server has not ended its connections", |progress| progress.open == 0).await
    }

    async fn wait(&self, what: &str, is: impl FnMut(&Progress) -> bool) -> Result<()> {
        let mut seen = self.progress.subscribe();
        timeout(BOUND, seen.wait_for(is)).await.with_context(|| format!("{what} within {BOUND:?}"))??;
        Ok(())
    }
}

impl Drop for StatementProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, progress: watch::Sender<Progress>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(relay(client, server, progress.clone()));
    }
}

/// Carries one connection, until either end ends it.
async fn relay(client: TcpStream, server: SocketAddr, progress: watch::Sender<Progress>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    progress.send_modify(|progress| progress.open += 1);
    let (frontend, server) = (Frontend::new(client), Messages::of(server));
    let mut connection = Connection { frontend, server, is_in_transaction: false, progress };
    // However it ended, the server is told that it has. It closes its end once what was begun is rolled back.
    let _ = connection.run().await;
    let _ = connection.server.shutdown().await;
    while let Ok(Some(_)) = connection.server.next().await {}
    connection.progress.send_modify(|progress| progress.open -= 1);
}

/// The client's end.
struct Frontend {
    client: Messages,
    statements: Statements,
    /// What has come of it so far.
    round: Round,
}

impl Frontend {
    fn new(client: TcpStream) -> Self {
        Self { client: Messages::of(client), statements: Statements::default(), round: Round::default() }
    }

    /// None where the client is gone. Nothing is lost where this is given up.
    async fn round(&mut self) -> io::Result<Option<Round>> {
        while let Some(message) = self.client.next().await? {
            if self.statements.add(&message, &mut self.round) {
                return Ok(Some(std::mem::take(&mut self.round)));
            }
        }
        Ok(None)
    }
}

struct Connection {
    frontend: Frontend,
    server: Messages,
    is_in_transaction: bool,
    progress: watch::Sender<Progress>,
}

impl Connection {
    async fn run(&mut self) -> io::Result<()> {
        self.log_in().await?;
        loop {
            tokio::select! {
                round = self.frontend.round() => {
                    let Some(round) = round? else { return Ok(()) };
                    if !self.relay(round).await? {
                        return Ok(());
                    }
                }
                // What the server says unasked, such as that it shuts down.
                said = self.server.next() => {
                    let Some(said) = said? else { return Ok(()) };
                    self.frontend.client.write(&said).await?;
                }
            }
        }
    }

    /// Until the server is ready for the first round.
    async fn log_in(&mut self) -> io::Result<()> {
        let Some(first) = self.frontend.client.first().await? else { return Ok(()) };
        self.server.write(&first).await?;
        loop {
            tokio::select! {
                said = self.frontend.client.next() => {
                    let Some(said) = said? else { return Ok(()) };
                    self.server.write(&said).await?;
                }
                said = self.server.next() => {
                    let Some(said) = said? else { return Ok(()) };
                    self.frontend.client.write(&said).await?;
                    if said.first() == Some(&b'Z') {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Carries a round and what is answered to it; false where the connection has ended.
    async fn relay(&mut self, round: Round) -> io::Result<bool> {
        let statement = round.sql.map(|sql| {
            let is_in_transaction = self.is_in_transaction || sql.starts_with("BEGIN");
            Statement { sql, is_in_transaction }
        });
        let place = statement.as_ref().and_then(|statement| self.count(statement));
        if place.is_some() && self.stop() == place.map(|place| (place, Side::Before)) {
            return self.hold().await;
        }
        self.server.write(&round.messages).await?;
        let Some(answer) = self.answer().await? else { return Ok(false) };
        self.progress.send_modify(|progress| progress.answered.extend(statement));
        if place.is_some() && self.stop() == place.map(|place| (place, Side::After)) {
            return self.hold().await;
        }
        self.frontend.client.write(&answer).await?;
        Ok(true)
    }

    /// Everything up to where the server is ready for the next round; None where it is gone.
    async fn answer(&mut self) -> io::Result<Option<BytesMut>> {
        let mut answer = BytesMut::new();
        while let Some(message) = self.server.next().await? {
            answer.extend_from_slice(&message);
            if message.first() == Some(&b'Z') {
                self.is_in_transaction = message.last() != Some(&b'I');
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// The place of a statement among those that are counted.
    fn count(&self, statement: &Statement) -> Option<usize> {
        let mut place = None;
        self.progress.send_modify(|progress| {
            if (progress.counts)(statement) {
                place = Some(progress.counted);
                progress.counted += 1;
            }
        });
        place
    }

    fn stop(&self) -> Option<(usize, Side)> {
        self.progress.borrow().stop
    }

    /// Until the client is gone.
    async fn hold(&mut self) -> io::Result<bool> {
        self.progress.send_modify(|progress| progress.is_held = true);
        while self.frontend.client.next().await?.is_some() {}
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: [u8; 6] = [b'Z', 0, 0, 0, 5, b'I'];

    fn query(sql: &str) -> Vec<u8> {
        let length = u32::try_from(sql.len() + 5).expect("short").to_be_bytes();
        [b"Q", &length[..], sql.as_bytes(), b"\0"].concat()
    }

    /// A server that is ready again after each query, and shows those that it was asked.
    async fn server() -> (SocketAddr, watch::Receiver<Vec<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, (asked, seen)) = (listener.local_addr().expect("an address"), watch::channel(Vec::new()));
        tokio::spawn(async move {
            let mut client = Messages::of(listener.accept().await?.0);
            let mut said = client.first().await?;
            while said.is_some() {
                client.write(&READY).await?;
                said = client.next().await?;
                asked.send_modify(|asked| asked.extend(said.as_ref().map(|said| said.to_vec())));
            }
            io::Result::Ok(())
        });
        (address, seen)
    }

    /// A client that has logged in and asked this much, and was answered the first.
    async fn ask_two(proxy: &StatementProxy) -> Messages {
        let mut client = Messages::of(TcpStream::connect(proxy.address()).await.expect("connected"));
        client.write(&[0, 0, 0, 8, 0, 3, 0, 0]).await.expect("written");
        assert_eq!(client.next().await.expect("open").as_deref(), Some(&READY[..]));
        client.write(&query("BEGIN")).await.expect("written");
        assert_eq!(client.next().await.expect("open").as_deref(), Some(&READY[..]));
        client.write(&query("COMMIT")).await.expect("written");
        client
    }

    /// What the server was asked where the second statement is held on this side, and the client goes.
    async fn asked(side: Side) -> (usize, Vec<Statement>) {
        let (server, mut asked) = server().await;
        let proxy = StatementProxy::start(server, |_| true).await.expect("started");
        proxy.count_from_now(Some((1, side)));
        let client = ask_two(&proxy).await;
        proxy.held().await.expect("held");
        let answered = proxy.counted();
        drop(client);
        proxy.ended().await.expect("ended");
        // The server is gone, and has seen all that it ever will.
        while asked.changed().await.is_ok() {}
        let asked = asked.borrow().len();
        (asked, answered)
    }

    #[tokio::test]
    async fn statement_held_before_does_not_reach_the_server_when_its_client_goes() {
        let (asked, answered) = asked(Side::Before).await;
        assert_eq!((asked, answered.len()), (1, 1), "{answered:?}");
    }

    #[tokio::test]
    async fn statement_held_after_was_carried_out_and_its_client_does_not_hear_of_it() {
        let (asked, answered) = asked(Side::After).await;
        assert_eq!((asked, answered.len()), (2, 2), "{answered:?}");
    }
}
