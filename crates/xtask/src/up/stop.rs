//! The wish that everything ends: Ctrl-C, a terminal that is closed, or the signal that a supervisor sends.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

/// Listens for it from the start, so that none is missed while something else is waited for.
pub(super) struct Stop {
    interrupt: Signal,
    hangup: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("can't listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
    /// Waits for one that is no echo of the one before: a shell and its group may be told of the same Ctrl-C.
    pub(super) async fn asked_again(&mut self) {
        let echoes = sleep(Duration::from_secs(1));
        tokio::pin!(echoes);
        loop {
            tokio::select! {
                biased;
                () = &mut echoes => break,
                () = self.asked() => {}
            }
        }
        self.asked().await;
    }
}
