//! `RevocationService`: the conversation that keeps verifiers' knowledge fresh.

use std::sync::Arc;

use accord_api::accord::auth::v1::{WatchRequest, WatchResponse, revocation_service_server::RevocationService};
use accord_runtime::shutdown::Shutdown;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use crate::{auth::Auth, store::StoreError};

const WATCH: &str = "accord.auth.watch";

/// Most answers on their way to one verifier; one that reads no faster is let go, and comes back for everything.
const UNREAD: usize = 32;

/// The service.
pub struct Revocations {
    /// What is known.
    pub auth: Arc<Auth>,
    /// Streams end when it begins, so that the process can.
    pub shutdown: Shutdown,
}

#[tonic::async_trait]
impl RevocationService for Revocations {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let state = self.auth.ledger.current().await?;
        self.auth.guard(request.metadata(), WATCH, &state)?;
        let (metadata, _, questions) = request.into_parts();
        let (answers, reading) = mpsc::channel(UNREAD);
        let conversation = Conversation { auth: Arc::clone(&self.auth), metadata, answers, known: 0, answered: 0 };
        tokio::spawn(conversation.hold(questions, self.shutdown.clone()));
        Ok(Response::new(ReceiverStream::new(reading)))
    }
}

struct Conversation {
    auth: Arc<Auth>,
    /// The verifier's own credential: it is checked again at each question, since it can be revoked too.
    metadata: MetadataMap,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
    /// The revision that the verifier has.
    known: u64,
    answered: u64,
}

/// The stream is over: the verifier has gone, or is too slow.
struct Over;

impl Conversation {
    async fn hold(mut self, mut questions: Streaming<WatchRequest>, shutdown: Shutdown) {
        self.auth.figures.stream(1);
        let mut revisions = self.auth.ledger.revisions();
        let begun = shutdown.begun();
        tokio::pin!(begun);
        loop {
            let on = tokio::select! {
                question = questions.message() => match question {
                    Ok(Some(question)) => self.answer(question.question).await,
                    Ok(None) | Err(_) => Err(Over),
                },
                // News only follow the first answer: before it, there is nothing to add them to.
                Ok(()) = revisions.changed(), if self.answered > 0 => self.answer(self.answered).await,
                () = &mut begun => Err(Over),
                () = self.answers.closed() => Err(Over),
            };
            if on.is_err() {
                break;
            }
        }
        self.auth.figures.stream(-1);
    }

    async fn answer(&mut self, question: u64) -> Result<(), Over> {
        let news = match self.news(question).await {
            Ok(news) => news,
            // With the store down nothing is known, so nothing is said: silence is what makes the verifier stale.
            Err(Unanswerable::Store(error)) => {
                error.tell();
                return Ok(());
            }
            Err(Unanswerable::Refused(status)) => return self.send(Err(status)).and(Err(Over)),
        };
        (self.known, self.answered) = (news.revision, question);
        self.send(Ok(news))
    }

    async fn news(&self, question: u64) -> Result<WatchResponse, Unanswerable> {
        // Read after the question came: the answer says what was true when it was asked, or later.
        let state = self.auth.ledger.current().await.map_err(Unanswerable::Store)?;
        self.auth.guard(&self.metadata, WATCH, &state).map_err(|denial| Unanswerable::Refused(denial.into()))?;
        Ok(state.news(self.known, question))
    }

    fn send(&self, answer: Result<WatchResponse, Status>) -> Result<(), Over> {
        self.answers.try_send(answer).map_err(|error| {
            if matches!(error, TrySendError::Full(_)) {
                tracing::warn!("a verifier reads too slowly and is let go");
            }
            Over
        })
    }
}

enum Unanswerable {
    Store(StoreError),
    Refused(Status),
}
