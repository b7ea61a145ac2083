//! `accord-bench`: what `cargo xtask bench` starts beside the binaries. An upstream that costs less than what is measured before
//! it, a collector, load, and floors: what the same answer costs a server that does nothing else.

mod epoll;
mod executor;
mod hit;
mod item;
mod load;
mod memcached;
mod signatures;
mod turns;
mod upstream;
mod verifier;

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

use upstream::{Capacity, Reply};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    server: Server,
    /// Where it serves
    #[arg(long, global = true, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
}

#[derive(Subcommand)]
enum Server {
    /// bench.v1.BenchService over HTTP/2, plaintext
    Upstream,
    /// The same with so many workers, each of which takes one call for so long; others queue, also where their callers have left
    Limited {
        /// Calls at a time
        #[arg(long)]
        workers: usize,
        /// Milliseconds that each takes
        #[arg(long)]
        service: u64,
    },
    /// A collector that takes everything, says the path of each call, and keeps nothing
    Sink,
    /// Floor: one answer over HTTP/1.1, by epoll and nothing else
    Epoll,
    /// Floor: a hit as hyper alone would answer it, with its look-ups and headers, over HTTP/1.1 and HTTP/2
    Hit,
    /// Floor: signs or verifies with Ed25519, and nothing else
    Signatures(signatures::Args),
    /// Sends requests instead
    Load(load::Args),
    /// Reads keys of a memcached instead
    Memcached(memcached::Args),
    /// Verifies tokens instead, and asks auth what they permit
    Verifier(verifier::Args),
}

fn main() -> Result<()> {
    let Arguments { server, listen } = Arguments::parse();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    match server {
        Server::Upstream => runtime.block_on(upstream::serve(listen, Reply::new(item::framed()))),
        Server::Limited { workers, service } => {
            let capacity = Capacity::new(workers, Duration::from_millis(service));
            runtime.block_on(upstream::serve(listen, Reply::new(item::framed()).within(capacity)))
        }
        Server::Sink => runtime.block_on(upstream::serve(listen, Reply::new(item::empty()).saying_paths())),
        Server::Hit => runtime.block_on(hit::serve(listen)),
        Server::Signatures(args) => runtime.block_on(signatures::run(args)),
        Server::Load(args) => runtime.block_on(load::run(args)),
        Server::Memcached(args) => runtime.block_on(memcached::run(args)),
        Server::Verifier(args) => runtime.block_on(verifier::run(args)),
        Server::Epoll => epoll::serve(listen),
    }
}
