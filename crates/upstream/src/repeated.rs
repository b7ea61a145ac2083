//! Calls by generated stubs of which their maker says that they may be repeated: they are sent again where their connection broke.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::{backoff::Backoff, deadline::Deadline, fault};
use tokio::time::sleep;
use tonic::Status;

/// How often such a call is sent: each of a few replicas may end while it is made.
const ATTEMPTS: usize = 4;
/// The waits in between, in which it shows who is gone.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAIT: Duration = Duration::from_millis(100);
const JITTER: f64 = 0.3;

/// Sends until something is answered, as long as there is time. The call must be one that changes nothing, or the same when it is made
/// twice. What was refused is not sent again.
pub async fn repeated<R, F>(deadline: Deadline, send: impl Fn() -> F) -> Result<R, Status>
where
    F: Future<Output = Result<R, Status>> + Send,
{
    let mut wait = Backoff::new(FIRST_WAIT, LAST_WAIT, JITTER);
    for _ in 1..ATTEMPTS {
        match send().await {
            Err(status) if is_broken(&status) && !deadline.expired() => {
                // A backoff: the same endpoint would break again at once.
                sleep(wait.next_wait().min(deadline.remaining())).await;
            }
            answered => return answered,
        }
    }
    send().await
}

/// Whether it is this side that says so: no endpoint could be reached, or the connection broke.
fn is_broken(status: &Status) -> bool {
    fault::reason_of(status) == Some(Reason::UpstreamUnavailable)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Mutex, PoisonError},
    };

    use tonic::Code;

    use super::*;

    fn broken() -> Result<u32, Status> {
        Err(fault::status(Reason::UpstreamUnavailable, "the connection broke"))
    }

    /// What comes of a call that is answered so, one after the other, and how many answers are left.
    async fn answered(answers: Vec<Result<u32, Status>>) -> (Result<u32, Code>, usize) {
        let answers = Mutex::new(VecDeque::from(answers));
        let lock = || answers.lock().unwrap_or_else(PoisonError::into_inner);
        let send = || std::future::ready(lock().pop_front().expect("another answer"));
        let answer = repeated(Deadline::after(Duration::from_mins(1)), send).await;
        (answer.map_err(|status| status.code()), lock().len())
    }

    #[tokio::test(start_paused = true)]
    async fn repeatable_call_is_sent_again_where_its_connection_broke() {
        assert_eq!(answered(vec![broken(), broken(), Ok(3), Ok(4)]).await, (Ok(3), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn repeatable_call_is_sent_no_more_than_four_times() {
        assert_eq!(answered((0..6).map(|_| broken()).collect()).await, (Err(Code::Unavailable), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn repeatable_call_that_is_refused_is_not_sent_again() {
        let refused = Err(fault::status(Reason::IdempotencyUnavailable, "no records"));
        assert_eq!(answered(vec![refused, Ok(2)]).await, (Err(Code::Unavailable), 1));
    }
}
