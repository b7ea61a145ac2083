//! Hits that are compared with their origin.

use super::*;

/// A hit on an answer that says 1, and what a comparison shows where the origin says these things, and this happens before the
/// comparison is settled.
async fn checked(says_then: [&'static str; 2], before_settled: impl FnOnce(&Subject)) -> Checked {
    let (engine, origin, _) = subject();
    stored(&engine, &origin, "milk", "1").await;
    let (read, hit) = (of("milk"), engine.read(&of("milk")).await.unwrap());
    assert!(engine.is_sampled(&read, &hit, 1.0));
    let settled = async { before_settled(&engine) };
    let answers = async {
        for says_now in says_then {
            // Of the second look there may be none.
            let Some(load) = origin.next().map(Some).now_or_never().unwrap_or(None) else { return };
            load.send(says(says_now)).unwrap();
            settle().await;
        }
    };
    let (checked, ()) = tokio::join!(engine.check(&read, &hit, settled), answers);
    checked
}

#[tokio::test]
async fn hit_that_is_what_the_origin_says_is_the_same() {
    assert_eq!(checked(["1", "1"], |_| {}).await, Checked::Same);
}

#[tokio::test]
async fn hit_whose_origin_changed_without_an_invalidation_was_superseded() {
    assert_eq!(checked(["2", "2"], |_| {}).await, Checked::Superseded);
}

#[tokio::test]
async fn hit_whose_invalidation_was_on_its_way_is_no_alarm() {
    let invalidate = |engine: &Subject| engine.invalidate([Tag::named("milk")]);
    assert_eq!(checked(["2", "2"], invalidate).await, Checked::Invalidated);
}

#[tokio::test]
async fn origin_that_says_something_else_each_time_is_no_alarm() {
    assert_eq!(checked(["2", "3"], |_| {}).await, Checked::Unsteady);
}

#[tokio::test]
async fn hit_that_leaves_memory_by_itself_is_no_alarm() {
    assert_eq!(checked(["2", "2"], |engine| engine.0.store.remove(&of("milk").key)).await, Checked::Invalidated);
}

#[tokio::test]
async fn origin_that_fails_is_no_alarm() {
    let (engine, origin, _) = subject();
    stored(&engine, &origin, "milk", "1").await;
    let (read, hit) = (of("milk"), engine.read(&of("milk")).await.unwrap());
    let answers = async { origin.next().await.send(fails(14)).unwrap() };
    let (checked, ()) = tokio::join!(engine.check(&read, &hit, async {}), answers);
    assert_eq!(checked, Checked::Failed);
}

#[tokio::test]
async fn answers_that_are_stale_or_loaded_or_without_tags_are_not_sampled() {
    let (engine, origin, world) = subject();
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(says("1")).unwrap();
    assert!(!engine.is_sampled(&of("milk"), &asked.await.unwrap().unwrap(), 1.0));
    let hit = engine.read(&of("milk")).await.unwrap();
    assert!(engine.is_sampled(&of("milk"), &hit, 1.0) && !engine.is_sampled(&of("milk"), &hit, 0.0));
    world.advance(12);
    assert!(!engine.is_sampled(&of("milk"), &engine.read(&of("milk")).await.unwrap(), 1.0));

    let untagged = || Read { tags: Arc::default(), ..of("bread") };
    let asked = ask(&engine, untagged());
    // The first is the reload behind the stale answer.
    origin.next().await.send(says("2")).unwrap();
    origin.next().await.send(says("1")).unwrap();
    asked.await.unwrap().unwrap();
    assert!(!engine.is_sampled(&untagged(), &engine.read(&untagged()).await.unwrap(), 1.0));
}

#[tokio::test]
async fn so_many_hits_are_sampled_as_the_share_says() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    let hit = engine.read(&of("milk")).await.unwrap();
    for (drawn, is_sampled) in [(0.0, true), (0.09, true), (0.1, false), (0.9, false)] {
        world.draw(drawn);
        assert_eq!(engine.is_sampled(&of("milk"), &hit, 0.1), is_sampled, "{drawn}");
    }
}
