use super::*;

fn everything(revision: u64) -> Update {
    Update { revision, full: true, policy_hash: "p".into(), ..Update::default() }
}

#[test]
fn news_add_and_everything_replaces() {
    let epoch = ("ada".to_owned(), 2);
    let known = Snapshot::default().updated(Update { subjects: vec![epoch], ..everything(3) }, 0);
    let added = known.updated(Update { revision: 4, ..Update::default() }, 0);
    assert_eq!((added.revision, added.subjects.get("ada")), (4, Some(&2)));
    let replaced = added.updated(everything(1), 0);
    assert_eq!((replaced.revision, replaced.subjects.get("ada")), (1, None));
}

#[test]
fn a_revoked_token_is_remembered_until_it_has_ended_everywhere() {
    let revoked = ("t1".to_owned(), 100);
    let known = Snapshot::default().updated(Update { tokens: vec![revoked], ..everything(1) }, 0);
    let kept = known.updated(Update { revision: 2, ..Update::default() }, 120);
    assert!(kept.tokens.contains_key("t1"));
    let forgotten = kept.updated(Update { revision: 3, ..Update::default() }, 121);
    assert!(!forgotten.tokens.contains_key("t1"));
}
