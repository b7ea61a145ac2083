use accord_api::accord::auth::v1::RevokedToken;
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
