use accord_api::accord::auth::v1::{RevokedToken, SubjectEpoch};
use tokio::time::advance;

use super::*;

const BOUND: Duration = Duration::from_secs(5);

fn everything(revision: u64) -> WatchResponse {
    WatchResponse { question: 1, revision, full: true, policy_hash: "p".to_owned(), ..WatchResponse::default() }
}

#[tokio::test(start_paused = true)]
async fn knowledge_is_refused_once_it_is_older_than_the_bound() {
    let knowledge = Knowledge::none();
    assert!(knowledge.within(BOUND).is_none(), "nothing is known yet");
    knowledge.learn(everything(1), Some(Instant::now()), 0);
    advance(BOUND).await;
    assert!(knowledge.within(BOUND).is_some());
    advance(Duration::from_millis(1)).await;
    assert!(knowledge.within(BOUND).is_none());
    knowledge.learn(everything(1), Some(Instant::now()), 0);
    assert!(knowledge.within(BOUND).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_delayed_answer_is_as_old_as_its_question() {
    let knowledge = Knowledge::none();
    advance(Duration::from_secs(1)).await;
    let asked = Instant::now();
    advance(BOUND + Duration::from_millis(1)).await;
    knowledge.learn(everything(1), Some(asked), 0);
    assert!(knowledge.within(BOUND).is_none());
}

#[tokio::test(start_paused = true)]
async fn unasked_news_change_what_is_known_but_not_how_fresh_it_is() {
    let knowledge = Knowledge::none();
    knowledge.learn(everything(1), Some(Instant::now()), 0);
    advance(BOUND).await;
    let revoked = RevokedToken { jti: "t1".to_owned(), expires_at: 100 };
    let news = WatchResponse { revision: 2, tokens: vec![revoked], ..WatchResponse::default() };
    knowledge.learn(news, None, 0);
    assert!(knowledge.within(BOUND).unwrap().tokens.contains_key("t1"));
    advance(Duration::from_millis(1)).await;
    assert!(knowledge.within(BOUND).is_none());
}

#[test]
fn news_add_and_everything_replaces() {
    let epoch = SubjectEpoch { subject: "ada".to_owned(), epoch: 2 };
    let known = Snapshot::default().updated(WatchResponse { subjects: vec![epoch], ..everything(3) }, 0);
    let added = known.updated(WatchResponse { revision: 4, ..WatchResponse::default() }, 0);
    assert_eq!((added.revision, added.subjects.get("ada")), (4, Some(&2)));
    let replaced = added.updated(everything(1), 0);
    assert_eq!((replaced.revision, replaced.subjects.get("ada")), (1, None));
}

#[test]
fn a_revoked_token_is_remembered_until_it_has_ended_everywhere() {
    let revoked = RevokedToken { jti: "t1".to_owned(), expires_at: 100 };
    let known = Snapshot::default().updated(WatchResponse { tokens: vec![revoked], ..everything(1) }, 0);
    let kept = known.updated(WatchResponse { revision: 2, ..WatchResponse::default() }, 120);
    assert!(kept.tokens.contains_key("t1"));
    let forgotten = kept.updated(WatchResponse { revision: 3, ..WatchResponse::default() }, 121);
    assert!(!forgotten.tokens.contains_key("t1"));
}
