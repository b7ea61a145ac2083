//! The audit log as a stream, for collectors.

use std::{sync::Arc, time::Duration};

use accord_api::accord::{auth::v1::WatchAuditEntriesResponse, fault::v1::Reason};
use accord_runtime::{fault, shutdown::Shutdown};
use accord_token::Verified;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    domain::{auth::Auth, denial::Denial},
    service::message::audit_entry,
};

/// How often the store is asked for new entries: other processes add some, and it wakes nobody for them.
const POLL: Duration = Duration::from_millis(500);

/// Streams at once: each asks the store again and again.
const MAX_STREAMS: usize = 16;

/// The streams that are open.
pub(crate) struct AuditStreams {
    places: Arc<Semaphore>,
    /// They end when it begins, so that the process can.
    shutdown: Shutdown,
}

impl AuditStreams {
    /// None yet.
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_STREAMS)), shutdown }
    }

    /// One that begins after this entry.
    pub(super) fn open(
        &self,
        auth: &Arc<Auth>,
        caller: Arc<Verified>,
        after: i64,
    ) -> Result<ReceiverStream<Result<WatchAuditEntriesResponse, Status>>, Status> {
        if after < 0 {
            return Err(Denial::Field("after", "must not be negative").into());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            fault::status(Reason::Overloaded, format!("{MAX_STREAMS} streams of the audit log are open already"))
        })?;
        // One page waits for its reader, and no more: who reads slowly is read for slowly.
        let (pages, reading) = mpsc::channel(1);
        let stream = AuditStream { auth: Arc::clone(auth), caller, after, _place: place };
        tokio::spawn(stream.run(pages, self.shutdown.clone()));
        Ok(ReceiverStream::new(reading))
    }
}

struct AuditStream {
    auth: Arc<Auth>,
    /// Who reads. Its token is verified again before each page, since it ends and can be revoked.
    caller: Arc<Verified>,
    /// The last entry that was read.
    after: i64,
    _place: OwnedSemaphorePermit,
}

impl AuditStream {
    async fn run(mut self, pages: mpsc::Sender<Result<WatchAuditEntriesResponse, Status>>, shutdown: Shutdown) {
        let begun = shutdown.begun();
        tokio::pin!(begun);
        loop {
            // A place in the channel first: what is read then is as new as can be, and a reader that has gone is noticed.
            let place = tokio::select! {
                place = pages.reserve() => place,
                () = &mut begun => return,
            };
            let Ok(place) = place else { return };
            let page = tokio::select! {
                page = self.next() => page,
                () = pages.closed() => return,
                () = &mut begun => Err(fault::status(Reason::AuthUnavailable, "auth stops; go on at another one")),
            };
            let is_over = page.is_err();
            place.send(page);
            if is_over {
                return;
            }
        }
    }

    /// The next entries, once there are any.
    async fn next(&mut self) -> Result<WatchAuditEntriesResponse, Status> {
        loop {
            let state = self.auth.state.current().await?;
            self.auth.reverify_any(&self.caller, &state).map_err(Denial::Caller)?;
            let page = self.auth.store.audit_after(self.after).await?;
            if let Some(newest) = page.last() {
                self.after = newest.seq;
                return Ok(WatchAuditEntriesResponse { entries: page.into_iter().map(audit_entry).collect() });
            }
            sleep(POLL).await;
        }
    }
}
