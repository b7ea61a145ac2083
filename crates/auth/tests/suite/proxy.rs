//! A TCP proxy that can stall: what is sent over it waits, and neither end learns of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

pub(crate) struct Proxy {
    pub address: SocketAddr,
    opened: Arc<AtomicUsize>,
    /// Connections up to this one are stalled.
    stalled: watch::Sender<usize>,
}

impl Proxy {
    /// Forwards every connection to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stalled, stalls) = watch::channel(0);
        let opened = Arc::new(AtomicUsize::new(0));
        let proxy = Self { address, opened: Arc::clone(&opened), stalled };
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let number = opened.fetch_add(1, Ordering::SeqCst) + 1;
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(forward(near_in, far_out, number, stalls.clone()));
                tokio::spawn(forward(far_in, near_out, number, stalls.clone()));
            }
        });
        proxy
    }

    /// Nothing more arrives over the connections that are open now. New ones work, as with another server in the place of
    /// the lost one.
    pub(crate) fn stall(&self) {
        self.stalled.send_replace(self.opened.load(Ordering::SeqCst));
    }

    /// What waited arrives.
    pub(crate) fn resume(&self) {
        self.stalled.send_replace(0);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, mut stalled: watch::Receiver<usize>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if stalled.wait_for(|stalled| number > *stalled).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
