//! `RevocationService`: the stream that keeps verifiers' knowledge fresh.

use std::sync::Arc;

use accord_api::accord::auth::v1::{WatchRequest, WatchResponse, revocation_service_server::RevocationService};
use accord_runtime::shutdown::Shutdown;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{guard::Caller, message};
use crate::{
    domain::{auth::Auth, denial::Denial, revocation::Watcher},
    store::high_water::Mark,
};

/// Most answers on their way to one verifier; one that reads no faster is disconnected, and comes back for everything.
const MAX_PENDING: usize = 32;

/// The service.
pub(crate) struct Revocations {
    /// What is known.
    pub(crate) auth: Arc<Auth>,
    /// Streams end when it begins, so that the process can.
    pub(crate) shutdown: Shutdown,
}

#[tonic::async_trait]
impl RevocationService for Revocations {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = Watcher::start(Arc::clone(&self.auth), Caller::of(&request)?.verified);
        let (answers, reading) = mpsc::channel(MAX_PENDING);
        let stream = VerifierStream { watcher, answers, answered: 0 };
        tokio::spawn(stream.run(request.into_inner(), self.shutdown.clone()));
        Ok(Response::new(ReceiverStream::new(reading)))
    }
}

struct VerifierStream {
    watcher: Watcher,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
    /// The newest question that was answered.
    answered: u64,
}

/// The stream is over: the verifier has gone, or is too slow.
struct StreamEnded;

impl VerifierStream {
    async fn run(mut self, mut questions: Streaming<WatchRequest>, shutdown: Shutdown) {
        let mut revisions = self.watcher.revisions();
        // The stream lasts no longer than the token that opened it, and nothing but time ends that.
        let (begun, over) = (shutdown.begun(), sleep(self.watcher.token_life()));
        tokio::pin!(begun, over);
        loop {
            let sent = tokio::select! {
                question = questions.message() => match question {
                    Ok(Some(question)) => self.answer(question.question, message::seen(&question)).await,
                    Ok(None) | Err(_) => Err(StreamEnded),
                },
                // News only follow the first answer: before it, there is nothing to add them to.
                Ok(()) = revisions.changed(), if self.answered > 0 => self.answer(self.answered, None).await,
                // The answer is that the verifier's own token has expired.
                () = &mut over => self.answer(self.answered, None).await.and(Err(StreamEnded)),
                () = &mut begun => Err(StreamEnded),
                () = self.answers.closed() => Err(StreamEnded),
            };
            if sent.is_err() {
                break;
            }
        }
    }

    async fn answer(&mut self, question: u64, seen: Option<Mark>) -> Result<(), StreamEnded> {
        // Read after the question came: the answer says what was true when it was asked, or later.
        match self.watcher.update(seen).await {
            Ok(update) => {
                self.answered = question;
                self.send(Ok(message::update(update, question)))
            }
            // With the store down nothing is known, so nothing is said: silence is what makes the verifier stale.
            Err(Denial::Store(error)) => {
                error.log();
                Ok(())
            }
            Err(denial) => self.send(Err(denial.into())).and(Err(StreamEnded)),
        }
    }

    fn send(&self, answer: Result<WatchResponse, Status>) -> Result<(), StreamEnded> {
        self.answers.try_send(answer).map_err(|error| {
            if matches!(error, TrySendError::Full(_)) {
                tracing::warn!("a verifier reads its revocation stream too slowly: slow consumer disconnected");
            }
            StreamEnded
        })
    }
}
