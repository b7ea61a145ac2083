use accord_api::accord::auth::v1::RevokedToken;
use tokio::time::advance;

use super::*;

const BOUND: Duration = Duration::from_secs(5);

fn everything(revision: u64) -> WatchResponse {
    WatchResponse { question: 1, revision, full: true, policy_hash: "p".to_owned(), ..WatchResponse::default() }
}

#[tokio::test(start_paused = true)]
async fn snapshot_older_than_the_bound_is_refused() {
    let latest = LatestSnapshot::none();
    assert!(latest.within(BOUND).is_none(), "nothing is known yet");
    latest.apply(everything(1), Some(Instant::now()), 0);
    advance(BOUND).await;
    assert!(latest.within(BOUND).is_some());
    advance(Duration::from_millis(1)).await;
    assert!(latest.within(BOUND).is_none());
    latest.apply(everything(1), Some(Instant::now()), 0);
    assert!(latest.within(BOUND).is_some());
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_the_question_of_the_newest_answer() {
    let latest = LatestSnapshot::none();
    advance(BOUND).await;
    assert!(latest.age() >= BOUND, "nothing is known yet");
    latest.apply(everything(1), Some(Instant::now()), 0);
    advance(Duration::from_secs(2)).await;
    assert_eq!(latest.age(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn snapshot_from_a_delayed_answer_is_as_old_as_its_question() {
    let latest = LatestSnapshot::none();
    advance(Duration::from_secs(1)).await;
    let sent_at = Instant::now();
    advance(BOUND + Duration::from_millis(1)).await;
    latest.apply(everything(1), Some(sent_at), 0);
    assert!(latest.within(BOUND).is_none());
}

#[tokio::test(start_paused = true)]
async fn snapshot_changed_by_a_push_does_not_become_fresher() {
    let latest = LatestSnapshot::none();
    latest.apply(everything(1), Some(Instant::now()), 0);
    advance(BOUND).await;
    let revoked = RevokedToken { jti: "t1".to_owned(), expires_at: 100 };
    let news = WatchResponse { revision: 2, tokens: vec![revoked], ..WatchResponse::default() };
    latest.apply(news, None, 0);
    assert!(latest.within(BOUND).unwrap().tokens.contains_key("t1"));
    advance(Duration::from_millis(1)).await;
    assert!(latest.within(BOUND).is_none());
}

#[tokio::test(start_paused = true)]
async fn policy_set_that_changes_between_revisions_is_taken_over() {
    let latest = LatestSnapshot::none();
    latest.apply(everything(1), Some(Instant::now()), 0);
    let news = WatchResponse { full: false, policy_hash: "q".to_owned(), ..everything(1) };
    latest.apply(news, None, 0);
    assert_eq!(&*latest.within(BOUND).unwrap().policy_hash, "q");
}
