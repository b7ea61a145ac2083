//! Revocation stream: asks often, and only an answered question makes the snapshot fresher.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use accord_api::accord::auth::v1::{WatchRequest, WatchResponse, revocation_service_client::RevocationServiceClient};
use accord_runtime::{
    deadline::Deadline,
    fault,
    observe::code_name,
    request::{self, RequestId},
    shutdown::Shutdown,
};
use accord_token::verify;
use accord_upstream::Client;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    login::{self, Login},
    snapshot::LatestSnapshot,
};

/// The longest life of one stream, as its contract says.
const STREAM: Duration = Duration::from_hours(1);

/// The largest answer, in bytes: all that is known may be some million revoked tokens, and without it nothing is accepted.
const LARGEST: usize = 256 * 1024 * 1024;

/// Most unanswered questions on one stream; with more, the stream is taken for dead.
const UNANSWERED: usize = 16;

/// Follows until shutdown, over as many streams as it takes.
pub(crate) async fn follow(
    auth: Client,
    login: Arc<Login>,
    latest: Arc<LatestSnapshot>,
    bound: Duration,
    shutdown: Shutdown,
) {
    let mut backoff = login::backoff();
    loop {
        let mut stream = Stream { latest: &latest, bound, unanswered: VecDeque::new(), count: 0, answered: false };
        let ended = tokio::select! {
            ended = stream.run(auth.clone(), &login) => ended,
            () = shutdown.begun() => return,
        };
        if stream.answered {
            backoff.reset();
        }
        if let Err(status) = ended {
            let reason = fault::reason_of(&status).map(fault::name);
            tracing::warn!(
                code = code_name(status.code()),
                reason,
                "the stream of revocations ended; it is opened again"
            );
            if status.code() == Code::Unauthenticated {
                login.reject();
            }
        }
        tokio::select! {
            () = sleep(backoff.next_wait()) => {}
            () = shutdown.begun() => return,
        }
    }
}

struct Stream<'a> {
    latest: &'a LatestSnapshot,
    bound: Duration,
    /// When the unanswered questions were sent, oldest first.
    unanswered: VecDeque<(u64, Instant)>,
    count: u64,
    answered: bool,
}

impl Stream<'_> {
    async fn run(&mut self, auth: Client, login: &Login) -> Result<(), Status> {
        let bearer = login.first_bearer().await;
        let logins = login.logins();
        let (questions, outgoing) = mpsc::channel(UNANSWERED);
        let outgoing = ReceiverStream::new(outgoing);
        let mut request = request::outbound(outgoing, Deadline::after(STREAM), &RequestId::new());
        request.metadata_mut().insert("authorization", bearer);
        // The first question goes with the call: auth answers the call's head only when it has something to say.
        self.ask(&questions)?;
        let mut client = RevocationServiceClient::new(auth).max_decoding_message_size(LARGEST);
        let opening = timeout(self.bound, client.watch(request));
        let answers = opening.await.map_err(|_| Status::deadline_exceeded("auth did not open the stream"))??;
        self.exchange_messages(questions, answers.into_inner(), logins).await
    }

    async fn exchange_messages(
        &mut self,
        questions: mpsc::Sender<WatchRequest>,
        mut answers: Streaming<WatchResponse>,
        mut logins: watch::Receiver<u64>,
    ) -> Result<(), Status> {
        let mut ticks = interval(Duration::from_secs(1).min(self.bound / 5));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.ask(&questions)?,
                answer = answers.message() => match answer? {
                    Some(news) => self.apply(news),
                    None => return Ok(()),
                },
                // The stream was opened with a token that is about to end; the next one is opened with the new one.
                _ = logins.changed() => return Ok(()),
            }
        }
    }

    fn ask(&mut self, questions: &mpsc::Sender<WatchRequest>) -> Result<(), Status> {
        let oldest = self.unanswered.front();
        if oldest.is_some_and(|(_, sent_at)| sent_at.elapsed() > self.bound) || self.unanswered.len() >= UNANSWERED {
            return Err(Status::deadline_exceeded("auth does not answer questions"));
        }
        self.count += 1;
        // The moment is taken before the question leaves: the snapshot is never dated younger than it is.
        self.unanswered.push_back((self.count, Instant::now()));
        // Revision 0 asks for everything: another stream may lead to another store.
        questions
            .try_send(WatchRequest { question: self.count, revision: 0, seen: self.latest.seen() })
            .map_err(|_| Status::unavailable("questions can't be sent"))
    }

    fn apply(&mut self, news: WatchResponse) {
        let mut sent_at = None;
        while let Some((question, at)) =
            self.unanswered.front().copied().filter(|(question, _)| *question <= news.question)
        {
            sent_at = Some(at);
            self.answered |= question > 0;
            self.unanswered.pop_front();
        }
        self.latest.apply(news, sent_at, verify::now());
    }
}
