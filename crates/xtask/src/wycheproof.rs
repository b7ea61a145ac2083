//! `cargo xtask wycheproof`: the vectors of Project Wycheproof for JWS and JWK, against what reads tokens of others and our own.
//!
//! No registry has them, and nothing of them is in this repository: whoever has a checkout of C2SP/wycheproof names its directory.

use std::{collections::BTreeSet, fs, path::PathBuf};

use accord_token::{
    Algorithm, InvalidTokenReason, KeySet, PublicKey, Type,
    foreign::{ForeignAlgorithm, ForeignType, JwkSet, Unverified},
    verify,
};
use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::say::say;

/// What `cargo xtask wycheproof` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory `testvectors_v1` of a checkout of C2SP/wycheproof
    directory: PathBuf,
}

const FILES: [&str; 2] = ["json_web_key_test.json", "json_web_signature_test.json"];

/// What others may sign with.
const ALGORITHMS: [ForeignAlgorithm; 3] = [ForeignAlgorithm::EdDsa, ForeignAlgorithm::Es256, ForeignAlgorithm::Rs256];

/// Valid signatures of algorithms that are refused altogether.
const REFUSED_ALGORITHMS: [(&str, &str); 9] = [
    ("HS256", SHARED_SECRET),
    ("HS384", SHARED_SECRET),
    ("HS512", SHARED_SECRET),
    ("RS384", ONE_EACH),
    ("RS512", ONE_EACH),
    ("PS256", ONE_EACH),
    ("PS384", ONE_EACH),
    ("PS512", ONE_EACH),
    ("ES512", ONE_EACH),
];
const SHARED_SECRET: &str = "whoever verifies with a shared secret can sign with it";
const ONE_EACH: &str = "one algorithm of each kind of key: EdDSA, ES256 and RS256, which every issuer offers";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    comment: String,
    /// Missing where the key is a secret.
    public: Option<Value>,
    private: Value,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: u32,
    comment: String,
    /// A text, or an object where it has another serialization.
    jws: Value,
    result: String,
}

/// Why valid vectors were refused, and what went wrong.
#[derive(Default)]
struct Outcome {
    accepted: u32,
    refused: u32,
    differences: BTreeSet<(&'static str, &'static str)>,
    different: u32,
    wrong: Vec<String>,
}

/// Judges all vectors; fails where one is judged otherwise than expected.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut outcome = Outcome::default();
    for name in FILES {
        let path = args.directory.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))?;
        let vectors: Vectors =
            serde_json::from_str(&text).with_context(|| format!("{} has another form", path.display()))?;
        for group in &vectors.test_groups {
            outcome.judge_group(name, group);
        }
    }
    outcome.report()
}

impl Outcome {
    fn judge_group(&mut self, file: &str, group: &Group) {
        let document = group.public.as_ref().unwrap_or(&group.private);
        let document = if document.get("keys").is_some() { document.clone() } else { json!({"keys": [document]}) };
        let text = document.to_string();
        // As keys of a client are read, and as those of an issuer are.
        let strict = JwkSet::read(text.as_bytes(), 8).unwrap_or_default();
        let usable = JwkSet::read_usable(text.as_bytes(), 8, &ALGORITHMS).unwrap_or_default();
        let own = own_keys(&document);
        for test in &group.tests {
            let at = format!("{file}, {}: {}, {}", test.tc_id, group.comment, test.comment);
            let expected = self.expects(test);
            let jws = test.jws.as_str().map_or_else(|| test.jws.to_string(), str::to_owned);
            for (reader, accepted, expected) in [
                ("keys of a client", is_accepted(&jws, &strict), expected),
                ("keys of an issuer", is_accepted(&jws, &usable), expected),
                ("our own tokens", is_own(&jws, &own), false),
            ] {
                if accepted != expected {
                    let verb = if accepted { "accepted" } else { "refused" };
                    self.wrong.push(format!("{at}: {verb} by {reader}"));
                }
            }
        }
    }

    /// Whether a vector is to be accepted.
    fn expects(&mut self, test: &Test) -> bool {
        if test.result != "valid" {
            self.refused += 1;
            return false;
        }
        let algorithm = algorithm(&test.jws);
        if let Some(difference) = REFUSED_ALGORITHMS.iter().find(|(name, _)| *name == algorithm) {
            self.different += 1;
            self.differences.insert(*difference);
            return false;
        }
        self.accepted += 1;
        true
    }

    fn report(&self) -> Result<()> {
        say(format!("{} valid vectors are to be accepted, {} invalid ones refused", self.accepted, self.refused))?;
        say(format!("{} valid ones are to be refused as well:", self.different))?;
        for (what, reason) in &self.differences {
            say(format!("  {what}: {reason}"))?;
        }
        for wrong in &self.wrong {
            say(format!("wrong: {wrong}"))?;
        }
        ensure!(self.accepted > 0 && self.refused > 0, "there are no vectors of each kind");
        if !self.wrong.is_empty() {
            bail!("{} vectors were judged otherwise than expected", self.wrong.len());
        }
        say("all were")
    }
}

/// Whether the signature is good: the payloads are no claims, which are read after it.
fn is_accepted(jws: &str, keys: &JwkSet) -> bool {
    let verified = Unverified::parse(jws).and_then(|token| token.verify(ForeignType::Identity, keys));
    matches!(verified, Ok(_) | Err(InvalidTokenReason::Claims))
}

fn is_own(jws: &str, keys: &KeySet) -> bool {
    matches!(verify::signed(jws, Type::Access, keys), Ok(_) | Err(InvalidTokenReason::Claims))
}

/// The keys on P-256 as if they were ours, under their own names.
fn own_keys(document: &Value) -> KeySet {
    let bytes = |key: &Value, member: &str| URL_SAFE_NO_PAD.decode(key[member].as_str().unwrap_or_default());
    let own = |key: &Value| {
        let point = [vec![4], bytes(key, "x").ok()?, bytes(key, "y").ok()?].concat();
        let kid = key["kid"].as_str()?.to_owned();
        (point.len() == 65).then(|| PublicKey { kid, ..PublicKey::new(Algorithm::Es256, &point) })
    };
    document["keys"].as_array().into_iter().flatten().filter_map(own).collect()
}

fn algorithm(jws: &Value) -> String {
    let header = || {
        let (header, _) = jws.as_str()?.split_once('.')?;
        // Some have characters in it that don't belong there.
        let clean: String =
            header.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter)).collect();
        serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(clean).ok()?).ok()
    };
    header().and_then(|header| header["alg"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.3.
    const JWS: &str = "eyJhbGciOiJFUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn judged(result: &str, jws: &str) -> Outcome {
        let group = json!({
            "comment": "es256",
            "private": {},
            "public": {
                "kty": "EC", "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            },
            "tests": [{"tcId": 1, "comment": "one", "jws": jws, "result": result}],
        });
        let mut outcome = Outcome::default();
        outcome.judge_group("a file", &serde_json::from_value(group).unwrap());
        outcome
    }

    #[test]
    fn vector_that_is_judged_as_it_says_is_right() {
        assert_eq!(judged("valid", JWS).wrong, Vec::<String>::new());
        assert_eq!(judged("invalid", &JWS.replace("DtEh", "DtEi")).wrong, Vec::<String>::new());
    }

    #[test]
    fn vector_that_is_judged_otherwise_is_told_and_fails() {
        let outcome = judged("invalid", JWS);
        let at = "a file, 1: es256, one: accepted by keys of";
        assert_eq!(outcome.wrong, [format!("{at} a client"), format!("{at} an issuer")]);
        outcome.report().unwrap_err();
        assert_eq!(judged("valid", &JWS.replace("DtEh", "DtEi")).wrong.len(), 2);
    }

    #[test]
    fn valid_signature_of_a_refused_algorithm_is_a_difference_with_its_reason() {
        let outcome = judged("valid", "eyJhbGciOiJIUzI1NiJ9.Zm9v.AAAA");
        assert_eq!(outcome.differences, BTreeSet::from([("HS256", SHARED_SECRET)]));
        assert_eq!((outcome.wrong.len(), outcome.accepted), (0, 0));
    }
}
