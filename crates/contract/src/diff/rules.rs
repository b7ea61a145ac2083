//! The table: what a change of each field of a policy does. A field without a line here fails a test.

use super::Effect;

/// What a change does, and the same in words.
pub(super) type Said = (Effect, &'static str);

/// What the absence of a field means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unset {
    /// Nothing, or zero.
    Nothing,
    /// No bound, or everything.
    Everything,
}

/// How the values of a field are compared.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// By size: a duration, a number, a switch.
    Amount { unset: Unset, less: Said, more: Said },
    /// By being off, left open, or on.
    Switch { less: Said, more: Said },
    /// By the place in an order, the least first.
    Rank { order: &'static [&'static str], less: Said, more: Said },
    /// By what is in a list.
    Set { unset: Unset, removed: Said, added: Said },
    /// Whatever is otherwise.
    Any(Said),
    /// Who may call.
    Access,
    /// Rate limits, each with the one that counts the same.
    Limits,
    /// With another field, on its line.
    Elsewhere,
}

const QUIET: Said = (Effect::NONE, "what callers and services see stays the same");

const fn breaks(why: &'static str) -> Said {
    (Effect::BREAKS, why)
}

const fn loosens(why: &'static str) -> Said {
    (Effect::LOOSENS, why)
}

const fn amount(less: Said, more: Said) -> Rule {
    Rule::Amount { unset: Unset::Nothing, less, more }
}

const fn bound(less: Said, more: Said) -> Rule {
    Rule::Amount { unset: Unset::Everything, less, more }
}

const fn set(removed: Said, added: Said) -> Rule {
    Rule::Set { unset: Unset::Nothing, removed, added }
}

/// Of each field of `accord.policy.v1.MethodPolicy`, by its path.
pub(super) const RULES: &[(&str, Rule)] = &[
    (
        "deadline.default",
        amount(
            breaks("calls without a timeout of their own end earlier"),
            loosens("calls without a timeout of their own may hold what they use for longer"),
        ),
    ),
    (
        "deadline.max",
        amount(
            breaks("calls that take longer fail, whatever time they bring"),
            loosens("a call may hold what it uses for longer"),
        ),
    ),
    ("access.public", Rule::Access),
    ("access.authenticated", Rule::Elsewhere),
    ("access.permission", Rule::Elsewhere),
    (
        "access.principal_kinds",
        Rule::Set {
            unset: Unset::Everything,
            removed: breaks("principals of a kind are refused"),
            added: loosens("principals of another kind may call"),
        },
    ),
    ("access.resource", Rule::Any((Effect::BOTH, "policies decide about another object who may call"))),
    ("cache.ttl", amount(QUIET, loosens("answers may be older"))),
    ("cache.stale_while_revalidate", amount(QUIET, loosens("answers may be older while they are loaded again"))),
    (
        "cache.stale_if_error",
        amount(
            (Effect::NONE, "failures of the origin show earlier"),
            loosens("answers may be older while the origin fails"),
        ),
    ),
    ("cache.negative_ttl", amount(QUIET, loosens("what was not found is not looked for again for longer"))),
    (
        "cache.scope",
        Rule::Rank {
            order: &["CACHE_SCOPE_PER_PRINCIPAL", "CACHE_SCOPE_SHARED"],
            less: QUIET,
            more: loosens("principals get answers that were loaded for others"),
        },
    ),
    (
        "cache.key",
        Rule::Set {
            unset: Unset::Everything,
            removed: loosens("requests that differ in a field share an answer"),
            added: QUIET,
        },
    ),
    ("cache.tags", set(loosens("answers stay where what has the tag is invalidated"), QUIET)),
    ("cache.max_bytes", amount(QUIET, QUIET)),
    ("cache.keep_headers", set(breaks("answers come without metadata that they had"), QUIET)),
    (
        "cache.vary",
        set(loosens("requests that differ in a header share an answer, and it does not reach the origin"), QUIET),
    ),
    ("cache.soft_timeout", bound(loosens("a stale answer stands in earlier"), QUIET)),
    ("cache.ignore_cache_control", amount(QUIET, breaks("callers get no fresher answers when they ask for them"))),
    (
        "cache.version_field",
        Rule::Any(loosens("other answers count as the newer ones, or the one that was loaded last")),
    ),
    (
        "cache.version_header",
        Rule::Any(loosens("other answers count as the newer ones, or the one that was loaded last")),
    ),
    ("cache.near.lease", amount(QUIET, (Effect::NONE, "writes wait for longer"))),
    ("cache.near.bounded", amount(QUIET, loosens("other gateways see a write later"))),
    ("invalidates", set(loosens("answers with the tag stay after a call"), QUIET)),
    (
        "invalidation",
        Rule::Rank {
            order: &["INVALIDATION_EXPIRE", "INVALIDATION_DELETE"],
            less: loosens("what a call makes invalid may be served while the origin fails"),
            more: (Effect::NONE, "failures of the origin show where a call made answers invalid"),
        },
    ),
    (
        "acknowledgement",
        Rule::Rank {
            order: &["ACKNOWLEDGEMENT_LOCAL", "ACKNOWLEDGEMENT_ALL_REPLICAS"],
            less: loosens("others may be told for a moment what was before a call"),
            more: (Effect::NONE, "calls wait until all gateways and replicas of the cache know what they make invalid"),
        },
    ),
    ("rate_limit", Rule::Limits),
    ("rate_limit.requests", Rule::Elsewhere),
    ("rate_limit.per", Rule::Elsewhere),
    ("rate_limit.burst", Rule::Elsewhere),
    ("rate_limit.by", Rule::Elsewhere),
    ("rate_limit.plans", Rule::Elsewhere),
    ("rate_limit.plans.role", Rule::Elsewhere),
    ("rate_limit.plans.requests", Rule::Elsewhere),
    ("rate_limit.plans.per", Rule::Elsewhere),
    ("rate_limit.plans.burst", Rule::Elsewhere),
    ("retry.max_attempts", amount((Effect::NONE, "failures show earlier"), loosens("a call may be made more often"))),
    ("retry.on", set((Effect::NONE, "failures show earlier"), loosens("calls that failed otherwise are made again"))),
    ("retry.hedge_after", bound(loosens("further attempts begin while the first is under way"), QUIET)),
    ("retry.attempt_timeout", bound(loosens("attempts are given up, and made again, earlier"), QUIET)),
    (
        "idempotency.required",
        amount(loosens("calls without a key are taken"), breaks("calls without a key are refused")),
    ),
    ("idempotency.window", amount(breaks("a repeated call acts again earlier"), QUIET)),
    (
        "criticality",
        Rule::Rank {
            order: &[
                "CRITICALITY_SHEDDABLE",
                "CRITICALITY_SHEDDABLE_PLUS",
                "CRITICALITY_CRITICAL",
                "CRITICALITY_CRITICAL_PLUS",
            ],
            less: breaks("its calls are shed earlier under overload"),
            more: loosens("its calls are shed later, and those of others earlier"),
        },
    ),
    ("max_request_bytes", amount(breaks("larger requests are refused"), loosens("requests may be larger"))),
    ("max_response_bytes", amount(breaks("larger answers are refused"), loosens("answers may be larger"))),
    ("max_stream_messages", bound(breaks("longer streams are ended"), loosens("streams may be longer"))),
    (
        "stream_idle",
        bound(breaks("streams that are silent for longer are ended"), loosens("streams may be silent for longer")),
    ),
    (
        "on_cache_failure",
        Rule::Rank {
            order: &["ON_CACHE_FAILURE_FAIL", "ON_CACHE_FAILURE_BYPASS"],
            less: breaks("reads fail where the cache does not answer"),
            more: loosens("reads reach the origin where the cache does not answer"),
        },
    ),
    ("json.defaults", Rule::Any(breaks("the JSON of answers has other members"))),
    ("json.names", Rule::Any(breaks("the members of answers have other names"))),
    ("json.enums", Rule::Any(breaks("the enums of answers are written otherwise"))),
    ("json.success", Rule::Any(breaks("answers have another status"))),
    (
        "json.ignored_parameters",
        set(breaks("requests with the parameter are refused"), loosens("the parameter is of no consequence")),
    ),
    (
        "validate",
        Rule::Switch {
            less: loosens("requests are held against fewer of the rules that their messages declare"),
            more: breaks("requests that break a rule of their messages are refused"),
        },
    ),
    ("unset", Rule::Elsewhere),
];

/// What decides where a section is there on one side alone: the other fields of it say no more.
pub(super) const HEADS: [(&str, &str); 2] = [("cache.", "cache.ttl"), ("retry.", "retry.max_attempts")];
