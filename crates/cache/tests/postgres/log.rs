//! What a log has to keep to, on PostgreSQL.

use std::time::Duration;

use accord_cache::log::PostgresLog;
use accord_readthrough::{
    Appended, Change, Continuity, Invalidation, InvalidationLog, LeaseHolder, Member, Missing, NamespaceChange, Tag,
    Verification, Verified,
};
use accord_store::StoreUrl;

use crate::apart;

const LEASE: Duration = Duration::from_secs(4);
const WRITER: LeaseHolder = LeaseHolder(7);

/// The log as two replicas see it. It is young, so the first batch of a sender is a gap.
async fn two(schema: &str) -> [PostgresLog; 2] {
    let url: StoreUrl = apart(schema).await.parse().unwrap();
    let open = || async { PostgresLog::open(&url, LEASE, 8).await.unwrap() };
    [open().await, open().await]
}

fn batch(sequence: u64, tags: &[&str]) -> Invalidation {
    let tags = tags.iter().map(|tag| Tag::named(tag)).collect();
    Invalidation {
        sender: "gateway".to_owned(),
        sequence,
        round: 0,
        is_last: false,
        is_flush: false,
        tags,
        writer: Some(WRITER),
        change: None,
    }
}

async fn append(log: &PostgresLog, sequence: u64, tags: &[&str]) -> Appended {
    log.append(&[batch(sequence, tags)]).await.unwrap()
}

/// A verification by a replica that has seen nothing.
fn new(member: Member) -> Verification {
    Verification { member, seen: 0, seen_mark: 0, silent: Vec::new(), is_last: false }
}

async fn verify(log: &PostgresLog, member: Member, seen: u64) -> Verified {
    log.verify(&Verification { seen, ..new(member) }).await.unwrap()
}

fn member(replica: u128, counter: u64) -> Member {
    Member { replica, counter, confirmed: 0 }
}

#[tokio::test]
async fn appended_tags_are_read_by_other_replica_with_their_writer() {
    let [first, second] = two("log_reads").await;
    append(&first, 1, &[]).await;
    let appended = append(&first, 2, &["product/milk", "product/bread"]).await;
    let verified = verify(&second, member(2, 1), appended.head - 1).await;
    assert_eq!((verified.head, verified.incarnation), (appended.head, appended.incarnation));
    let [record] = &verified.records[..] else { panic!("{verified:?}") };
    assert_eq!((record.number, record.is_flush, record.writer), (appended.head, false, Some(WRITER)));
    assert_eq!(*record.tags, ["product/milk", "product/bread"].map(Tag::named));
}

#[tokio::test]
async fn change_of_a_key_is_read_by_other_replica_under_a_number_of_its_own() {
    let [first, second] = two("log_changes").await;
    let done = Some(("north".into(), Change::Put { key: "ada".into(), version: (0, Some(7)) }));
    let change = NamespaceChange { namespace: "carts".into(), done };
    let batches = [Invalidation::of_namespace(change.clone()), batch(1, &["product/milk"])];
    let appended = first.append(&batches).await.unwrap();
    let verified = verify(&second, member(2, 1), 0).await;
    let [record, other] = &verified.records[..] else { panic!("{verified:?}") };
    assert_eq!((Some(record.number), record.change.as_deref()), (appended.noted[0].1, Some(&change)));
    assert_eq!((other.number, &other.change), (appended.head, &None));
}

#[tokio::test]
async fn sender_that_moves_to_other_replica_is_in_order_and_its_gap_is_a_flush() {
    let [first, second] = two("log_moves").await;
    append(&first, 1, &[]).await;
    let next = append(&second, 2, &["product/milk"]).await;
    assert_eq!(next.noted[0].0.continuity, Continuity::InOrder);
    let gap = append(&first, 4, &[]).await;
    assert_eq!(gap.noted[0].0.continuity, Continuity::Gap(Missing::Batches));
    let verified = verify(&second, member(2, 1), next.head).await;
    assert!(verified.records[0].is_flush && verified.records[0].writer.is_none(), "{verified:?}");
}

#[tokio::test]
async fn heartbeat_takes_no_number() {
    let [first, second] = two("log_heartbeats").await;
    let announced = append(&first, 1, &[]).await;
    let beaten = append(&second, 1, &[]).await;
    assert_eq!((beaten.head, beaten.noted[0].1), (announced.head, None));
}

#[tokio::test]
async fn batches_of_one_append_have_numbers_in_their_order() {
    let [first, _] = two("log_shares").await;
    append(&first, 1, &[]).await;
    let appended = first.append(&[batch(2, &["product/milk"]), batch(3, &["product/bread"])]).await.unwrap();
    let numbers: Vec<_> = appended.noted.iter().map(|(_, number)| number.unwrap()).collect();
    assert_eq!(numbers, [appended.head - 1, appended.head]);
}

#[tokio::test]
async fn register_keeps_higher_counter_and_strikes_off_unchanged_one_alone() {
    let [first, second] = two("log_register").await;
    verify(&second, member(2, 5), 0).await;
    let before = verify(&second, member(2, 4), 0).await;
    assert_eq!(before.members, [member(2, 5)]);
    let strike = |counter| Verification { silent: vec![(2, counter)], ..new(member(1, counter)) };
    let kept = first.verify(&strike(4)).await.unwrap();
    assert_eq!(kept.members.len(), 2, "{kept:?}");
    let struck = first.verify(&strike(5)).await.unwrap();
    assert_eq!(struck.members, [member(1, 5)]);
}

#[tokio::test]
async fn replica_that_leaves_is_out_of_the_register() {
    let [first, second] = two("log_leaves").await;
    verify(&second, member(2, 1), 0).await;
    let last = Verification { is_last: true, ..new(member(2, 2)) };
    second.verify(&last).await.unwrap();
    assert_eq!(append(&first, 1, &[]).await.members, []);
}

/// Of a replica that registers and a batch that is appended at the same time, one sees the other.
#[tokio::test]
async fn registration_reads_number_or_is_read_by_its_append() {
    let [first, second] = two("log_races").await;
    append(&first, 1, &[]).await;
    for turn in 2..60 {
        let replica = u128::from(turn);
        let tags = ["product/milk"];
        let (appended, verified) = tokio::join!(append(&first, turn, &tags), verify(&second, member(replica, 1), 0));
        let is_registered = appended.members.iter().any(|member| member.replica == replica);
        let is_read = verified.records.iter().any(|record| record.number == appended.head);
        assert!(is_registered || is_read, "{appended:?} {verified:?}");
    }
}

/// As after a failover that lost the record which the replica has seen, when its number has been given once more.
#[tokio::test]
async fn number_whose_record_was_lost_counts_as_neither_seen_nor_confirmed() {
    let [first, second] = two("log_marks").await;
    append(&first, 1, &[]).await;
    let appended = append(&first, 2, &["product/milk"]).await;
    let read = verify(&second, member(2, 1), 0).await;
    assert_eq!((read.head, read.records.last().unwrap().mark), (appended.head, read.head_mark));
    let (seen, confirmed) = (appended.head, appended.head);
    let verification = |counter, seen_mark| {
        let member = Member { confirmed, ..member(2, counter) };
        Verification { seen, seen_mark, ..new(member) }
    };
    let known = second.verify(&verification(2, read.head_mark)).await.unwrap();
    assert_eq!((known.has_seen, known.members[0].confirmed), (true, confirmed));
    let lost = second.verify(&verification(3, read.head_mark ^ 1)).await.unwrap();
    assert_eq!((lost.has_seen, lost.members[0].confirmed), (false, 0));
}
