//! Load for memcached: reads of so many keys in one command of its text protocol.

use std::{cell::Cell, fmt::Write, net::SocketAddr, rc::Rc, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{self, JoinSet},
};

use crate::turns::{microseconds, report};

const VALUE: &str = match std::str::from_utf8(&[b'v'; 100]) {
    Ok(value) => value,
    Err(_) => "",
};

/// What is read, and how.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// Where to
    to: SocketAddr,
    /// Keys in a command
    #[arg(long)]
    keys: u32,
    /// Connections, each with one command in flight
    #[arg(long)]
    connections: u32,
    /// Commands
    #[arg(long)]
    requests: u64,
}

/// Puts what is read, reads it so often, and prints how many reads were answered with all of it and how long that took.
pub(crate) async fn run(args: Args) -> Result<()> {
    put(&args).await?;
    let (left, args) = (Rc::new(Cell::new(args.requests)), Rc::new(args));
    let local = task::LocalSet::new();
    let times = local.run_until(async {
        let mut tasks = JoinSet::new();
        for _ in 0..args.connections {
            tasks.spawn_local(ask(Rc::clone(&args), Rc::clone(&left)));
        }
        let mut all = Vec::new();
        while let Some(times) = tasks.join_next().await {
            all.extend(times??);
        }
        anyhow::Ok(all)
    });
    report(times.await?);
    Ok(())
}

async fn put(args: &Args) -> Result<()> {
    let mut socket = connect(args).await?;
    for number in 0..args.keys {
        let command = format!("set key-{number} 0 0 {}\r\n{VALUE}\r\n", VALUE.len());
        exchange(&mut socket, &command, b"STORED\r\n").await?;
    }
    Ok(())
}

async fn ask(args: Rc<Args>, left: Rc<Cell<u64>>) -> Result<Vec<u64>> {
    let (mut command, mut wanted) = (String::from("get"), String::new());
    for number in 0..args.keys {
        write!(command, " key-{number}")?;
        write!(wanted, "VALUE key-{number} 0 {}\r\n{VALUE}\r\n", VALUE.len())?;
    }
    command.push_str("\r\n");
    wanted.push_str("END\r\n");
    let (mut socket, mut times) = (connect(&args).await?, Vec::new());
    while let Some(fewer) = left.get().checked_sub(1) {
        left.set(fewer);
        let begun = Instant::now();
        exchange(&mut socket, &command, wanted.as_bytes()).await?;
        times.push(microseconds(begun.elapsed()));
    }
    Ok(times)
}

async fn connect(args: &Args) -> Result<TcpStream> {
    let socket = TcpStream::connect(args.to).await.with_context(|| format!("{} can't be reached", args.to))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn exchange(socket: &mut TcpStream, command: &str, wanted: &[u8]) -> Result<()> {
    socket.write_all(command.as_bytes()).await?;
    let mut answer = vec![0; wanted.len()];
    socket.read_exact(&mut answer).await?;
    ensure!(answer == wanted, "memcached says {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}
