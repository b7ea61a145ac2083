use super::{
    backlog::{BATCH_BYTES, MAX_BACKLOG_BYTES, MAX_BACKLOG_TAGS},
    *,
};

fn deleted(name: impl Into<String>) -> InvalidTag {
    InvalidTag { expires: false, name: name.into() }
}

#[test]
fn large_tags_are_sent_in_several_batches() {
    let tags: BTreeSet<_> = (0..100).map(|tag| deleted(format!("{tag:060000}"))).collect();
    let batches = batches(tags.clone());
    assert!(batches.len() > 1);
    assert!(batches.iter().all(|batch| batch.iter().map(|tag| tag.name.len()).sum::<usize>() <= BATCH_BYTES));
    assert_eq!(batches.into_iter().flatten().collect::<BTreeSet<_>>(), tags);
    assert_eq!(super::batches(BTreeSet::new()).len(), 1, "a new sender is announced without a tag");
}

#[test]
fn backlog_over_its_bytes_becomes_a_gap() {
    let mut backlog = Backlog::default();
    backlog.add((0..MAX_BACKLOG_BYTES / 60_000).map(|tag| deleted(format!("{tag:060000}"))).collect());
    assert!(!backlog.overflowed && backlog.bytes <= MAX_BACKLOG_BYTES);
    backlog.add(vec![deleted("0".repeat(60_001))]);
    assert!(backlog.overflowed && backlog.tags.is_empty() && backlog.bytes == 0);
}

#[test]
fn backlog_over_its_tags_becomes_a_gap() {
    let meter = accord_runtime::telemetry::meter();
    let durations = INVALIDATION_DURATION.histogram(&meter);
    let (arrived, is_sending, announcement) = (Notify::new(), watch::Sender::default(), watch::Sender::default());
    let backlog = Mutex::default();
    let near = Arc::new(NearCache::new(1 << 20));
    let queue = Invalidator(Arc::new(Queue { near, backlog, arrived, is_sending, announcement, durations }));
    queue.enqueue((0..MAX_BACKLOG_TAGS).map(|tag| deleted(tag.to_string())).collect(), None);
    queue.enqueue(vec![deleted("0")], None);
    let backlog = |queue: &Invalidator| {
        let backlog = queue.0.backlog();
        (backlog.tags.len(), backlog.overflowed)
    };
    assert_eq!(backlog(&queue), (MAX_BACKLOG_TAGS, false), "a tag waits once");
    queue.enqueue(vec![deleted("one more")], None);
    assert_eq!(backlog(&queue), (0, true));
    queue.enqueue(vec![deleted("later")], None);
    assert_eq!(backlog(&queue), (1, true), "the gap stays");
}
