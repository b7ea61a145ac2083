use super::*;

const MILK: u64 = 7;
const BREAD: u64 = 8;
const NORTH: TokenScope<'static> = TokenScope { namespace: "", tenant: "north" };

const HERE: Standing = Standing { log: 1, number: 5, first_later: 6, process: 3, next_serial: 100 };

/// Of somebody who wrote at 4, and has seen a load of the milk that ended at 40.
fn token() -> ConsistencyToken {
    ConsistencyToken { log: 1, number: 4, process: 3, from: 50, key: MILK, ended: 40 }
}

fn load(serial: u64, number: u64) -> LoadSpan {
    LoadSpan { serial, number, ended: serial + 2 }
}

#[test]
fn token_comes_back_from_its_key_as_it_was() {
    let key = TokenKey::random();
    assert_eq!(key.open(&key.seal(&token(), NORTH), NORTH), Ok(Opened::Known(token())));
}

#[test]
fn token_with_any_bit_changed_is_refused_or_foreign() {
    let key = TokenKey::random();
    let sealed = key.seal(&token(), NORTH);
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(key.open(&changed, NORTH), Ok(Opened::Known(_))), "bit {bit}");
    }
}

#[test]
fn token_of_another_tenant_or_namespace_is_forged() {
    let key = TokenKey::random();
    let sealed = key.seal(&token(), NORTH);
    let others = [("", "south"), ("carts", "north"), ("carts", ""), ("north", "")];
    for (namespace, tenant) in others {
        assert_eq!(
            key.open(&sealed, TokenScope { namespace, tenant }),
            Err(TokenError::Forged),
            "{namespace} {tenant}"
        );
    }
}

#[test]
fn token_of_a_tenant_is_good_for_who_has_none_and_the_other_way_round() {
    let (key, nobody) = (TokenKey::random(), TokenScope { tenant: "", ..NORTH });
    assert_eq!(key.open(&key.seal(&token(), NORTH), nobody), Ok(Opened::Known(token())));
    assert_eq!(key.open(&key.seal(&token(), nobody), NORTH), Ok(Opened::Known(token())));
}

#[test]
fn token_of_another_key_can_not_be_judged() {
    let sealed = TokenKey::of(b"one").seal(&token(), NORTH);
    assert_eq!(TokenKey::of(b"another").open(&sealed, NORTH), Ok(Opened::Foreign));
    assert_eq!(TokenKey::of(b"one").open(&sealed, NORTH), Ok(Opened::Known(token())));
    assert_eq!(TokenKey::of(b"one").open(&ConsistencyToken::UNKNOWN, NORTH), Ok(Opened::Foreign));
}

#[test]
fn token_of_other_length_is_malformed() {
    let key = TokenKey::random();
    let sealed = key.seal(&token(), NORTH);
    for length in 0..sealed.len() {
        assert_eq!(key.open(&sealed[..length], NORTH), Err(TokenError::Malformed), "{length}");
    }
    assert_eq!(key.open(&[&sealed[..], &[0]].concat(), NORTH), Err(TokenError::Malformed));
}

#[test]
fn token_of_write_asks_of_every_key_for_loads_from_its_number_on() {
    let required = HERE.require(&[Opened::Known(ConsistencyToken::of_write(1, 4))], BREAD);
    assert!(required.floor.is_met(&load(10, 4)));
    assert!(!required.floor.is_met(&load(99, 3)));
    assert!(required.floor.is_met(&load(100, 3)), "it starts from now on");
}

#[test]
fn token_of_read_asks_of_its_key_for_its_load_or_one_after_it() {
    let required = HERE.require(&[Opened::Known(token())], MILK);
    assert!(required.floor.is_met(&LoadSpan { serial: 38, number: 4, ended: 40 }));
    assert!(!required.floor.is_met(&LoadSpan { serial: 38, number: 4, ended: 41 }), "it overlapped");
    assert!(required.floor.is_met(&load(41, 4)));
}

#[test]
fn token_of_read_asks_of_other_keys_what_its_reader_had_passed() {
    let required = HERE.require(&[Opened::Known(token())], BREAD);
    assert!(required.floor.is_met(&load(10, 4)));
    assert!(required.floor.is_met(&load(50, 3)));
    assert!(!required.floor.is_met(&load(49, 3)));
}

#[test]
fn load_that_was_seen_at_another_process_is_met_by_loads_from_now_on() {
    let seen = ConsistencyToken { process: 4, number: 0, ..token() };
    let required = HERE.require(&[Opened::Known(seen)], MILK);
    assert!(!required.floor.is_met(&LoadSpan { serial: 99, number: 5, ended: 40 }));
    assert!(required.floor.is_met(&load(100, 5)));
}

#[test]
fn token_of_another_log_asks_for_a_load_from_now_on() {
    for passed in [Opened::Foreign, Opened::Known(ConsistencyToken { log: 2, ..token() })] {
        let required = HERE.require(&[passed, Opened::Known(token())], BREAD);
        assert!(!required.floor.is_met(&load(99, 5)));
        assert!(required.floor.is_met(&load(100, 5)));
    }
}

#[test]
fn token_of_this_log_is_judged_unless_it_is_of_another_processs_load_of_the_key() {
    let is_unjudged = |token| HERE.require(&[token], MILK).is_unjudged;
    let elsewhere = ConsistencyToken { process: 4, ..token() };
    let judged = [token(), ConsistencyToken::of_write(1, 4), ConsistencyToken { key: BREAD, ..elsewhere }];
    let own = ConsistencyToken::of_keys((1, UNKNOWN), (3, 90));
    for token in judged.into_iter().chain([own]) {
        assert!(!is_unjudged(Opened::Known(token)), "{token:?}");
    }
    let unknown = ConsistencyToken::of_keys((1, UNKNOWN), (4, 90));
    for token in [elsewhere, ConsistencyToken { log: 2, ..token() }, unknown] {
        assert!(is_unjudged(Opened::Known(token)), "{token:?}");
    }
    assert!(is_unjudged(Opened::Foreign));
}

#[test]
fn answer_to_a_token_that_can_not_be_judged_asks_for_what_is_later_than_the_log() {
    let told = HERE.require(&[Opened::Foreign], BREAD).token(&load(100, 5));
    let there = Standing { process: 9, ..HERE };
    let required = there.require(&[Opened::Known(told)], MILK);
    assert!(!required.floor.is_met(&load(99, 5)));
    assert!(required.floor.is_met(&load(99, 6)));
    assert!(HERE.require(&[Opened::Known(told)], MILK).floor.is_met(&load(100, 5)), "of the same process");
}

#[test]
fn answer_to_several_tokens_asks_for_what_meets_them_all() {
    let other = ConsistencyToken { number: 5, from: u64::MAX, key: BREAD, ended: 60, ..token() };
    let told = HERE.require(&[Opened::Known(token()), Opened::Known(other)], MILK).token(&load(100, 5));
    assert_eq!((told.number, told.from, told.key, told.ended), (5, 100, MILK, 102));
}

#[test]
fn two_loads_that_were_seen_are_met_by_what_started_after_both() {
    let later = ConsistencyToken { ended: 45, ..token() };
    for seen in [[token(), later], [later, token()]] {
        let required = HERE.require(&seen.map(Opened::Known), MILK);
        assert!(!required.floor.is_met(&LoadSpan { serial: 38, number: 5, ended: 45 }));
        assert!(required.floor.is_met(&load(46, 5)));
    }
}
