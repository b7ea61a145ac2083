//! What makes two questions to auth the same one.

use std::hash::{Hash, Hasher};

use accord_token::{PolicyReads, Verified};
use moka::Equivalent;

use super::Question;

/// What makes two questions the same one: the token, the actor's, the method, its permission, the audience, the object, the policy set,
/// and what that looks at beside them: the protocol, the address. A change of a subject's roles raises its epoch, and so ends the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BorrowedKey<'a>(pub(super) [&'a str; 9]);

/// The same, kept. All of it stands in one place: of many decisions each is read from memory that no cache of the processor holds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct DecisionKey {
    text: Box<str>,
    /// Where each part ends.
    ends: [usize; 9],
}

impl<'a> BorrowedKey<'a> {
    pub(super) fn of(
        verified: &'a Verified,
        question: &Question<'a>,
        policies: &PolicySet<'a>,
        address: &'a str,
    ) -> Self {
        let actor = question.actor.map_or("", |actor| &actor.verified.claims.jti);
        let protocol = if policies.reads.protocol { question.protocol } else { "" };
        let Question { method, permission, audience, resource, .. } = *question;
        Self([&verified.claims.jti, actor, method, permission, audience, policies.hash, protocol, address, resource])
    }

    pub(super) fn to_owned(self) -> DecisionKey {
        let mut end = 0;
        let ends = self.0.map(|part| {
            end += part.len();
            end
        });
        DecisionKey { text: self.0.concat().into(), ends }
    }

    /// The id of the principal's token.
    pub(super) fn token_id(&self) -> &'a str {
        self.0[0]
    }

    /// The called method.
    pub(super) fn method(&self) -> &'a str {
        self.0[2]
    }
}

impl DecisionKey {
    pub(super) fn borrowed(&self) -> BorrowedKey<'_> {
        let mut begin = 0;
        BorrowedKey(self.ends.map(|end| {
            let part = self.text.get(begin..end).unwrap_or_default();
            begin = end;
            part
        }))
    }
}

impl Hash for DecisionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

/// A remembered decision is found without a copy of anything.
impl Equivalent<DecisionKey> for BorrowedKey<'_> {
    fn equivalent(&self, key: &DecisionKey) -> bool {
        *self == key.borrowed()
    }
}

/// The policies by which auth decides now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicySet<'a> {
    /// Which they are.
    pub hash: &'a str,
    /// What they look at of a call.
    pub reads: PolicyReads,
    /// The version of all relations that they can look at.
    pub relations_version: u64,
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn decision_is_found_by_its_own_question_alone() {
        let (key, hasher) =
            (BorrowedKey(["jti", "actor", "pkg.Service/Get", "read", "shop", "p1", "", "", ""]), RandomState::new());
        assert_eq!(hasher.hash_one(key), hasher.hash_one(key.to_owned()));
        assert!(key.equivalent(&key.to_owned()));
        for index in 0..9 {
            let mut other = key;
            other.0[index] = "other";
            assert!(!other.equivalent(&key.to_owned()));
        }
    }

    #[test]
    fn decision_is_not_found_where_the_same_text_is_divided_otherwise() {
        let (key, other) = (
            BorrowedKey(["jti", "", "ab", "c", "", "", "", "", ""]),
            BorrowedKey(["jti", "", "a", "bc", "", "", "", "", ""]),
        );
        assert!(!other.equivalent(&key.to_owned()) && key.to_owned() != other.to_owned());
    }

    fn told() -> Verified {
        let claims = crate::test_claims::claims(accord_token::Kind::User, "ada");
        Verified { claims, token_type: accord_token::Type::Access, kid: String::new() }
    }

    fn question(address: &str, protocol: &'static str) -> Question<'static> {
        Question {
            method: "m",
            permission: "p",
            audience: "a",
            resource: "",
            address: Some(address.parse().unwrap()),
            protocol,
            actor: None,
        }
    }

    #[test]
    fn questions_from_two_addresses_are_one_while_no_policy_reads_addresses() {
        let (verified, here, there) = (told(), question("192.0.2.1", "grpc"), question("192.0.2.2", "json"));
        let none = PolicySet { hash: "h", reads: PolicyReads::default(), relations_version: 1 };
        assert!(BorrowedKey::of(&verified, &here, &none, "") == BorrowedKey::of(&verified, &there, &none, ""));
    }

    #[test]
    fn questions_about_two_objects_differ() {
        let (verified, none) = (told(), PolicySet { hash: "h", reads: PolicyReads::default(), relations_version: 1 });
        let about = |resource| Question { resource, ..question("192.0.2.1", "grpc") };
        let (one, other) = (about("Product/1"), about("Product/2"));
        assert!(BorrowedKey::of(&verified, &one, &none, "") != BorrowedKey::of(&verified, &other, &none, ""));
    }

    #[test]
    fn questions_by_two_protocols_or_from_two_addresses_differ_where_policies_read_them() {
        let (verified, grpc, json) = (told(), question("192.0.2.1", "grpc"), question("192.0.2.1", "json"));
        let reads = PolicyReads { address: true, protocol: true, time: false };
        let both = PolicySet { hash: "h", reads, relations_version: 1 };
        assert!(BorrowedKey::of(&verified, &grpc, &both, "a") != BorrowedKey::of(&verified, &json, &both, "a"));
        assert!(BorrowedKey::of(&verified, &grpc, &both, "a") != BorrowedKey::of(&verified, &grpc, &both, "b"));
    }
}
