use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::*;
use crate::{Algorithm, PublicKey, SigningKey, sign};

const NOW: i64 = 1_800_000_000;

struct Forge {
    key: SigningKey,
    snapshot: RevocationSnapshot,
}

impl Forge {
    fn new(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm).unwrap();
        let keys = [key.public().clone()].into_iter().collect();
        Self { key, snapshot: RevocationSnapshot { keys, ..RevocationSnapshot::default() } }
    }

    fn header(&self) -> Value {
        let public = self.key.public();
        json!({"alg": public.algorithm.name(), "kid": public.kid, "typ": "at+jwt"})
    }

    /// Any header and payload, with a true signature.
    fn token(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.key.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.token(&header.to_string(), &claims().to_string())
    }

    fn with_claims(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims();
        change(&mut claims);
        self.token(&self.header().to_string(), &claims.to_string())
    }

    fn good(&self) -> String {
        self.with_header(|_| {})
    }

    fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        let expected = Expected { token_type: Type::Access, issuer: "https://accord.local", audience: "accord" };
        let verified = signed(token, Type::Access, &self.snapshot.keys).map_err(Refusal::Invalid)?;
        current(&verified, &expected, NOW, &self.snapshot)?;
        Ok(verified)
    }

    #[track_caller]
    fn refuses(&self, token: &str, reason: InvalidTokenReason) {
        assert_eq!(self.verify(token).unwrap_err(), Refusal::Invalid(reason));
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://accord.local", "sub": "ada", "aud": "accord", "exp": NOW + 900, "iat": NOW, "nbf": NOW,
        "jti": "t1", "kind": "user", "tenant": "", "roles": ["reader"], "ep": 3, "gep": 2,
    })
}

#[test]
fn valid_token_verifies_under_both_algorithms() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let forge = Forge::new(algorithm);
        assert_eq!(forge.verify(&forge.good()).unwrap().claims.sub, "ada");
    }
}

#[test]
fn signed_token_verifies_to_the_same_claims() {
    let forge = Forge::new(Algorithm::EdDsa);
    let claims: Claims = serde_json::from_value(claims()).unwrap();
    let token = sign::sign(&claims, Type::Access, &forge.key).unwrap();
    assert_eq!(forge.verify(&token).unwrap().claims, claims);
}

#[test]
fn text_that_is_no_jws_is_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    let good = forge.good();
    forge.refuses(
        &forge.with_claims(|claims| claims["tenant"] = "x".repeat(LONGEST).into()),
        InvalidTokenReason::TooLong,
    );
    for token in ["", "one", "one.two", &format!("{good}.more"), &format!(".{good}")] {
        forge.refuses(token, InvalidTokenReason::Segments);
    }
    forge.refuses(&format!("{good}="), InvalidTokenReason::Encoding);
    forge.refuses(&format!("{good} "), InvalidTokenReason::Encoding);
    forge.refuses(&format!("+{}", &good[1..]), InvalidTokenReason::Encoding);
}

#[test]
fn signature_has_one_base64url_spelling() {
    let forge = Forge::new(Algorithm::EdDsa);
    let good = forge.good();
    // 64 bytes leave four unused bits in the last character; setting them would spell the same bytes.
    let last = good.chars().last().unwrap();
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).collect();
    let place = alphabet.iter().position(|letter| *letter == last).unwrap();
    let other = alphabet[place | 1];
    assert_ne!(other, last);
    forge.refuses(&format!("{}{other}", &good[..good.len() - 1]), InvalidTokenReason::Encoding);
}

#[test]
fn header_has_exactly_typ_alg_and_kid() {
    let forge = Forge::new(Algorithm::EdDsa);
    for extra in ["crit", "jku", "jwk", "x5u", "x5c", "x5t", "b64", "cty", "zip"] {
        forge.refuses(&forge.with_header(|header| header[extra] = json!(["x"])), InvalidTokenReason::Header);
    }
    for missing in ["alg", "kid", "typ"] {
        let token = forge.with_header(|header| drop(header.as_object_mut().unwrap().remove(missing)));
        forge.refuses(&token, InvalidTokenReason::Header);
    }
    let twice = forge.header().to_string().replacen('{', r#"{"alg":"none","#, 1);
    forge.refuses(&forge.token(&twice, &claims().to_string()), InvalidTokenReason::Header);
    let escaped = forge.header().to_string().replacen('{', r#"{"\u0061lg":"none","#, 1);
    forge.refuses(&forge.token(&escaped, &claims().to_string()), InvalidTokenReason::Header);
    let public = forge.key.public();
    let list = json!([public.algorithm.name(), public.kid, "at+jwt"]).to_string();
    for other in [list, format!(" {}", forge.header()), format!("{}{{}}", forge.header()), "null".to_owned()] {
        forge.refuses(&forge.token(&other, &claims().to_string()), InvalidTokenReason::Header);
    }
    for kid in ["", "../key", "a b", "ключ", &"k".repeat(65)] {
        forge.refuses(&forge.with_header(|header| header["kid"] = kid.into()), InvalidTokenReason::Header);
    }
}

#[test]
fn unexpected_type_key_or_algorithm_is_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    for other in ["JWT", "at+JWT", "application/at+jwt", "accord-passport+jwt"] {
        forge.refuses(&forge.with_header(|header| header["typ"] = other.into()), InvalidTokenReason::Type);
    }
    forge.refuses(&forge.with_header(|header| header["kid"] = "unknown".into()), InvalidTokenReason::KeyUnknown);
    for other in ["none", "HS256", "ES256", "RS256", "eddsa"] {
        forge.refuses(&forge.with_header(|header| header["alg"] = other.into()), InvalidTokenReason::Algorithm);
    }
    let forge = Forge::new(Algorithm::Es256);
    forge.refuses(&forge.with_header(|header| header["alg"] = "EdDSA".into()), InvalidTokenReason::Algorithm);
}

#[test]
fn public_key_is_not_taken_for_an_hmac_secret() {
    let forge = Forge::new(Algorithm::EdDsa);
    let public = forge.key.public();
    for algorithm in ["HS256", "EdDSA"] {
        let header = json!({"alg": algorithm, "kid": public.kid, "typ": "at+jwt"}).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims().to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public.bytes), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert!(matches!(
            forge.verify(&token),
            Err(Refusal::Invalid(InvalidTokenReason::Algorithm | InvalidTokenReason::Signature))
        ));
    }
}

#[test]
fn verified_token_is_checked_again_on_every_use() {
    let forge = Forge::new(Algorithm::EdDsa);
    let verified = forge.verify(&forge.good()).unwrap();
    let expected = Expected { token_type: Type::Access, issuer: "https://accord.local", audience: "accord" };
    let again = |expected: &Expected, now, snapshot: &RevocationSnapshot| current(&verified, expected, now, snapshot);
    assert_eq!(again(&expected, NOW, &forge.snapshot), Ok(()));
    assert_eq!(again(&expected, NOW + 900 + 10, &forge.snapshot), Err(Refusal::Expired));
    let passport = Expected { token_type: Type::Passport, ..expected };
    assert_eq!(again(&passport, NOW, &forge.snapshot), Err(Refusal::Invalid(InvalidTokenReason::Type)));
    let elsewhere = Expected { audience: "other", ..expected };
    assert_eq!(again(&elsewhere, NOW, &forge.snapshot), Err(Refusal::Invalid(InvalidTokenReason::Audience)));
    let retired = RevocationSnapshot::default();
    assert_eq!(again(&expected, NOW, &retired), Err(Refusal::Invalid(InvalidTokenReason::KeyUnknown)));
}

#[test]
fn signature_covers_every_byte() {
    let forge = Forge::new(Algorithm::EdDsa);
    let good = forge.good();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let mut admin = claims();
    admin["roles"] = json!(["accord-admin"]);
    let payload = URL_SAFE_NO_PAD.encode(admin.to_string());
    forge.refuses(&format!("{header}.{payload}.{signature}"), InvalidTokenReason::Signature);
    forge.refuses(&format!("{message}."), InvalidTokenReason::Signature);
    // Claims that are not even JSON are not looked at before the signature.
    forge.refuses(&format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("{")), InvalidTokenReason::Signature);
}

#[test]
fn token_with_any_character_changed_is_refused() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let forge = Forge::new(algorithm);
        let good = forge.good();
        for place in 0..good.len() {
            for other in ["A", "z", "0", "_", "=", "."] {
                let mut changed = good.clone();
                changed.replace_range(place..=place, other);
                assert!(changed == good || forge.verify(&changed).is_err(), "{other} at {place} of {good}");
            }
        }
    }
}

#[test]
fn signature_of_another_key_under_this_key_id_is_refused() {
    let (forge, other) = (Forge::new(Algorithm::EdDsa), Forge::new(Algorithm::EdDsa));
    forge.refuses(&other.token(&forge.header().to_string(), &claims().to_string()), InvalidTokenReason::Signature);
}

#[test]
fn missing_repeated_or_mistyped_claim_is_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    for missing in ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "kind", "tenant", "roles", "ep", "gep"] {
        let token = forge.with_claims(|claims| drop(claims.as_object_mut().unwrap().remove(missing)));
        forge.refuses(&token, InvalidTokenReason::Claims);
    }
    for (name, wrong) in [
        ("exp", json!(1_800_000_900.5)),
        ("exp", json!("1800000900")),
        ("aud", json!(["accord"])),
        ("aud", json!(["accord", "other"])),
        ("ep", json!(-1)),
        ("kind", json!("root")),
        ("sub", json!("")),
        ("jti", json!("")),
    ] {
        forge.refuses(&forge.with_claims(|claims| claims[name] = wrong), InvalidTokenReason::Claims);
    }
    for double in [
        r#"{"sub":"eve","#,
        r#"{"\u0061ud":"other","#,
        r#"{"unknown":1,"unknown":2,"#,
        r#"{"deep":{"a":1,"\u0061":2},"#,
        r#"{"deep":[{"a":1,"a":2}],"#,
    ] {
        let payload = claims().to_string().replacen('{', double, 1);
        forge.refuses(&forge.token(&forge.header().to_string(), &payload), InvalidTokenReason::Claims);
    }
    for time in ["1e9", "1800000900.0", "-0", "9223372036854775808", "99999999999999999999999", "0x6b", "true"] {
        let payload = claims().to_string().replace(&(NOW + 900).to_string(), time);
        forge.refuses(&forge.token(&forge.header().to_string(), &payload), InvalidTokenReason::Claims);
    }
    let good = claims().to_string();
    let list = r#"["https://accord.local","ada","accord",1800000900,1800000000,1800000000,"t1","user","",[],3,2]"#;
    for payload in [list, "null", "", "{", &format!("{good}{{}}"), &format!("\u{feff}{good}"), &"{\"a\":".repeat(200)] {
        forge.refuses(&forge.token(&forge.header().to_string(), payload), InvalidTokenReason::Claims);
    }
}

#[test]
fn issuer_and_audience_match_exactly() {
    let forge = Forge::new(Algorithm::EdDsa);
    for other in ["https://accord.local/", "https://ACCORD.local", ""] {
        forge.refuses(&forge.with_claims(|claims| claims["iss"] = other.into()), InvalidTokenReason::Issuer);
    }
    for other in ["catalog", "accord ", ""] {
        forge.refuses(&forge.with_claims(|claims| claims["aud"] = other.into()), InvalidTokenReason::Audience);
    }
}

#[test]
fn expiry_and_not_before_hold_within_the_leeway() {
    let forge = Forge::new(Algorithm::EdDsa);
    let at = |name: &'static str, time: i64| forge.verify(&forge.with_claims(|claims| claims[name] = time.into()));
    let leeway = seconds(LEEWAY);
    assert!(at("nbf", NOW + leeway).is_ok());
    assert_eq!(at("nbf", NOW + leeway + 1).unwrap_err(), Refusal::Invalid(InvalidTokenReason::Times));
    assert!(at("iat", NOW + leeway).is_ok());
    assert_eq!(at("iat", NOW + leeway + 1).unwrap_err(), Refusal::Invalid(InvalidTokenReason::Times));
    assert_eq!(at("exp", NOW).unwrap_err(), Refusal::Invalid(InvalidTokenReason::Times), "a life of nothing");
    assert_eq!(
        at("exp", NOW + 24 * 3600 + 1).unwrap_err(),
        Refusal::Invalid(InvalidTokenReason::Times),
        "a life too long"
    );
    assert_eq!(at("exp", i64::MAX).unwrap_err(), Refusal::Invalid(InvalidTokenReason::Times));
    let old = |exp: i64| {
        forge.verify(&forge.with_claims(|claims| {
            claims["iat"] = (NOW - 900).into();
            claims["exp"] = exp.into();
        }))
    };
    assert!(old(NOW - leeway + 1).is_ok());
    assert_eq!(old(NOW - leeway).unwrap_err(), Refusal::Expired);
}

#[test]
fn revocation_by_token_subject_or_time_is_refused() {
    let good = Forge::new(Algorithm::EdDsa);
    let token = good.good();
    let revoked = |change: fn(&mut RevocationSnapshot)| {
        let mut snapshot = good.snapshot.clone();
        change(&mut snapshot);
        let expected = Expected { token_type: Type::Access, issuer: "https://accord.local", audience: "accord" };
        current(&signed(&token, Type::Access, &snapshot.keys).unwrap(), &expected, NOW, &snapshot)
    };
    assert_eq!(revoked(|_| {}), Ok(()));
    assert_eq!(revoked(|snapshot| snapshot.tokens.extend([("t1".into(), NOW)])), Err(Refusal::Revoked));
    assert_eq!(revoked(|snapshot| snapshot.subjects.extend([("ada".into(), 3)])), Ok(()));
    assert_eq!(revoked(|snapshot| snapshot.subjects.extend([("ada".into(), 4)])), Err(Refusal::Revoked));
    assert_eq!(revoked(|snapshot| snapshot.global_epoch = 2), Ok(()));
    assert_eq!(revoked(|snapshot| snapshot.global_epoch = 3), Err(Refusal::Revoked));
}

#[test]
fn passport_is_revoked_with_the_token_it_came_from() {
    let mut forge = Forge::new(Algorithm::EdDsa);
    let mut claims: Claims = serde_json::from_value(claims()).unwrap();
    (claims.jti, claims.ptj, claims.exp) = ("p1".into(), Some("t1".into()), NOW + 300);
    let passport = sign::sign(&claims, Type::Passport, &forge.key).unwrap();
    let expected = Expected { token_type: Type::Passport, issuer: "https://accord.local", audience: "accord" };
    let verified = signed(&passport, Type::Passport, &forge.snapshot.keys).unwrap();
    assert_eq!(current(&verified, &expected, NOW, &forge.snapshot), Ok(()));
    forge.snapshot.tokens.insert("t1".into(), NOW);
    assert_eq!(current(&verified, &expected, NOW, &forge.snapshot), Err(Refusal::Revoked));
}

#[test]
fn token_is_revoked_with_the_api_key_it_came_from() {
    let mut forge = Forge::new(Algorithm::EdDsa);
    let token = forge.with_claims(|claims| claims["key"] = "ak_1.1".into());
    assert!(forge.verify(&token).is_ok());
    forge.snapshot.tokens.insert("ak_1.1".into(), NOW);
    assert_eq!(forge.verify(&token).unwrap_err(), Refusal::Revoked);
}

#[test]
fn scope_permits_what_it_names_and_nothing_beside_it() {
    let permits = |scope: Option<&str>, permission| {
        let claims = Claims { scope: scope.map(str::to_owned), ..serde_json::from_value(claims()).unwrap() };
        claims.permits(permission)
    };
    assert!(permits(None, "a.read"));
    assert!(permits(Some("a.write a.read"), "a.read"));
    assert!(permits(Some("a.write"), ""), "being authenticated needs no permission");
    for scope in ["", "a", "a.reader", "a.write", "a.read.all", "A.READ", "a.write,a.read"] {
        assert!(!permits(Some(scope), "a.read"), "{scope}");
    }
}

#[test]
fn key_id_must_be_the_keys_own() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let PublicKey { kid, algorithm, bytes } = key.public();
    assert_eq!(PublicKey::published(kid, algorithm.name(), bytes).as_ref(), Some(key.public()));
    assert_eq!(PublicKey::published("another", algorithm.name(), bytes), None);
    assert_eq!(PublicKey::published(kid, "RS256", bytes), None);
}
