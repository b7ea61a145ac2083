use super::*;

fn everything(revision: u64) -> RevocationUpdate {
    RevocationUpdate { revision, full: true, policy_hash: "p".into(), ..RevocationUpdate::default() }
}

#[test]
fn snapshot_adds_changes_and_is_replaced_by_a_full_answer() {
    let epoch = ("ada".into(), 2);
    let known = RevocationSnapshot::default().updated(RevocationUpdate { subjects: vec![epoch], ..everything(3) }, 0);
    let added = known.updated(RevocationUpdate { revision: 4, ..RevocationUpdate::default() }, 0);
    assert_eq!((added.revision, added.subjects.get("ada")), (4, Some(&2)));
    let replaced = added.updated(everything(1), 0);
    assert_eq!((replaced.revision, replaced.subjects.get("ada")), (1, None));
}

/// A verifier that knows of a revoked token, and then hears something else at this moment.
fn heard_at(known: &RevocationSnapshot, now: i64) -> RevocationSnapshot {
    known.updated(RevocationUpdate { revision: known.revision + 1, ..RevocationUpdate::default() }, now)
}

#[test]
fn revocation_is_remembered_until_the_token_has_expired_on_every_clock() {
    let revoked = ("t1".into(), 100);
    let known = RevocationSnapshot::default().updated(RevocationUpdate { tokens: vec![revoked], ..everything(1) }, 0);
    let kept = heard_at(&known, 100 + 2 * (3600 + 10));
    assert!(kept.tokens.contains_key("t1"));
    assert!(!heard_at(&kept, 101 + 2 * (3600 + 10)).tokens.contains_key("t1"));
}

#[test]
fn revocation_outlives_a_verifiers_clock_that_was_an_hour_ahead() {
    let (now, ends) = (1_000_000, 1_000_900);
    let update = RevocationUpdate { tokens: vec![("t1".into(), ends)], ..everything(1) };
    let ahead = heard_at(&RevocationSnapshot::default().updated(update, now), ends - 1 + 3600);
    assert!(heard_at(&ahead, now).tokens.contains_key("t1"), "the clock was corrected");
}
