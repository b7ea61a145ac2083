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

#[test]
fn revocation_is_remembered_until_the_token_has_expired_everywhere() {
    let revoked = ("t1".into(), 100);
    let known = RevocationSnapshot::default().updated(RevocationUpdate { tokens: vec![revoked], ..everything(1) }, 0);
    let kept = known.updated(RevocationUpdate { revision: 2, ..RevocationUpdate::default() }, 120);
    assert!(kept.tokens.contains_key("t1"));
    let forgotten = kept.updated(RevocationUpdate { revision: 3, ..RevocationUpdate::default() }, 121);
    assert!(!forgotten.tokens.contains_key("t1"));
}
