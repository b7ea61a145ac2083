//! A wire that can fall silent: what is sent over it waits, and neither end is told.

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

pub(crate) struct Wire {
    pub address: SocketAddr,
    opened: Arc<AtomicUsize>,
    /// Connections up to this one are silent.
    silent: watch::Sender<usize>,
}

impl Wire {
    /// Leads every connection on to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silent, heard) = watch::channel(0);
        let opened = Arc::new(AtomicUsize::new(0));
        let wire = Self { address, opened: Arc::clone(&opened), silent };
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let number = opened.fetch_add(1, Ordering::SeqCst) + 1;
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, number, heard.clone()));
                tokio::spawn(carry(far_in, near_out, number, heard.clone()));
            }
        });
        wire
    }

    /// Nothing more arrives over the connections that are open now. New ones work, as with another server in the place of
    /// the lost one.
    pub(crate) fn fall_silent(&self) {
        self.silent.send_replace(self.opened.load(Ordering::SeqCst));
    }

    /// What waited arrives.
    pub(crate) fn speak_again(&self) {
        self.silent.send_replace(0);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, mut silent: watch::Receiver<usize>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if silent.wait_for(|silent| number > *silent).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
