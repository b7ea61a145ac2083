//! A proxy of TCP that the fabric owns: a name with several addresses behind it, which can be parted from them and moved to others.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// Bytes that are carried at a time.
const PIECE: usize = 16 * 1024;

/// The proxy. It ends, with what passes through it, when this is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct State {
    /// Connections are shared out among them.
    behind: Arc<[SocketAddr]>,
    /// Of all moves.
    moves: u64,
    is_cut: bool,
    /// How long what passes is on its way, in each direction.
    delay: Duration,
}

impl TcpProxy {
    /// Starts one before these addresses, on a free port of loopback.
    pub async fn start(behind: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, seen) =
            watch::channel(State { behind: behind.into(), moves: 0, is_cut: false, delay: Duration::ZERO });
        Ok(Self { address, state, accepting: tokio::spawn(accept(listener, seen)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing passes any more, in either direction, and nobody is told so: as where packets are lost.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.is_cut = true);
    }

    /// What was on its way passes on.
    pub fn heal(&self) {
        self.state.send_modify(|state| state.is_cut = false);
    }

    /// What comes from now on is on its way for this long, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// New connections are shared out among these; those that are open go on, as with a balancer that is told who is ready.
    pub fn share(&self, behind: Vec<SocketAddr>) {
        self.state.send_modify(|state| state.behind = behind.into());
    }

    /// Connections that are open end, and new ones are shared out as before.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.moves += 1);
    }

    /// Connections that are open end, and new ones go there.
    pub fn move_to(&self, behind: SocketAddr) {
        self.state.send_modify(|state| {
            state.behind = [behind].into();
            state.moves += 1;
        });
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: watch::Receiver<State>) {
    for turn in 0.. {
        let Ok((near, _)) = listener.accept().await else { return };
        tokio::spawn(carry(near, state.clone(), turn));
    }
}

/// Carries one connection until it ends, until the proxy moves, or until it is gone.
async fn carry(near: TcpStream, mut state: watch::Receiver<State>, turn: usize) {
    let Ok(whole) = state.wait_for(|state| !state.is_cut).await.map(|state| state.clone()) else { return };
    let Some(far) = connect(&whole.behind, turn).await else { return };
    // What is small is to be seen at once: it is what most calls are.
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
    let mut moved = state.clone();
    // Where one end broke, the other one is not left to wait: a reset is no end of one direction alone.
    let both = async {
        tokio::try_join!(pump(&mut from_near, &mut to_far, state.clone()), pump(&mut from_far, &mut to_near, state))
    };
    tokio::select! {
        _ = both => {}
        _ = moved.wait_for(|state| state.moves != whole.moves) => {}
    }
}

/// The next one in turn that does not refuse.
async fn connect(behind: &[SocketAddr], turn: usize) -> Option<TcpStream> {
    for at in 0..behind.len() {
        if let Ok(far) = TcpStream::connect(behind[(turn + at) % behind.len()]).await {
            return Some(far);
        }
    }
    None
}

/// Carries one direction to its end; an error where the proxy is gone, or the connection broke.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut state: watch::Receiver<State>,
) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        let delay = state.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        state.wait_for(|state| !state.is_cut).await?;
        if read == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&piece[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::Port;

    const SOON: Duration = Duration::from_secs(10);

    /// A server that says its word to each who connects, and repeats what they say.
    async fn server(word: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    near.write_all(word.as_bytes()).await?;
                    let (mut from, mut to) = near.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn hear(connection: &mut TcpStream) -> String {
        let mut word = [0; 1];
        let read = timeout(SOON, connection.read(&mut word)).await.expect("in time").expect("open");
        String::from_utf8_lossy(&word[..read]).into_owned()
    }

    #[tokio::test]
    async fn connections_are_shared_out_and_pass_over_an_address_that_refuses() {
        let gone = Port::reserve().expect("a port");
        let proxy = TcpProxy::start(vec![server("a").await, gone.address(), server("b").await]).await.expect("started");
        let mut heard = Vec::new();
        for _ in 0..3 {
            let mut connection = TcpStream::connect(proxy.address()).await.expect("connected");
            heard.push(hear(&mut connection).await);
        }
        heard.sort();
        assert_eq!(heard, ["a", "b", "b"]);
    }

    #[tokio::test]
    async fn what_was_on_its_way_passes_when_the_cut_is_healed() {
        let proxy = TcpProxy::start(vec![server("a").await]).await.expect("started");
        let mut connection = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(hear(&mut connection).await, "a");
        proxy.cut();
        connection.write_all(b"x").await.expect("written");
        let heard = timeout(Duration::from_millis(50), hear(&mut connection)).await;
        assert!(heard.is_err(), "{heard:?}");
        proxy.heal();
        assert_eq!(hear(&mut connection).await, "x");
    }

    #[tokio::test]
    async fn delay_holds_up_what_passes_in_each_direction() {
        let (proxy, delay) =
            (TcpProxy::start(vec![server("a").await]).await.expect("started"), Duration::from_millis(30));
        let mut connection = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(hear(&mut connection).await, "a");
        proxy.delay(delay);
        let sent = tokio::time::Instant::now();
        connection.write_all(b"x").await.expect("written");
        assert_eq!(hear(&mut connection).await, "x");
        assert!(sent.elapsed() >= 2 * delay, "{:?}", sent.elapsed());
    }

    #[tokio::test]
    async fn reset_of_one_end_ends_the_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = TcpProxy::start(vec![listener.local_addr().expect("an address")]).await.expect("started");
        let mut near = TcpStream::connect(proxy.address()).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        near.write_all(b"x").await.expect("written");
        far.readable().await.expect("readable");
        // What it has not read makes the end of it a reset.
        drop(far);
        let end = timeout(SOON, near.read(&mut [0; 1])).await.expect("in time");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }

    #[tokio::test]
    async fn new_connections_go_to_whom_they_are_shared_out_among_and_open_ones_go_on() {
        let proxy = TcpProxy::start(vec![server("a").await]).await.expect("started");
        let mut connection = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(hear(&mut connection).await, "a");
        proxy.share(vec![server("b").await]);
        let mut another = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(hear(&mut another).await, "b");
        connection.write_all(b"x").await.expect("written");
        assert_eq!(hear(&mut connection).await, "x");
    }

    #[tokio::test]
    async fn move_ends_open_connections_and_sends_new_ones_elsewhere() {
        let proxy = TcpProxy::start(vec![server("a").await]).await.expect("started");
        let mut connection = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(hear(&mut connection).await, "a");
        proxy.move_to(server("b").await);
        assert_eq!(hear(&mut connection).await, "");
        let mut another = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(hear(&mut another).await, "b");
    }
}
