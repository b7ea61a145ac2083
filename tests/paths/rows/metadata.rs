//! What travels beside messages. Of a cached method only what its contract declares does, whoever answers.

use crate::{
    reply::Reply,
    row::{Expected, Pairs, Row},
};
use tonic::Code;

const CALLER: Pairs = &[
    ("x-caller", "1"),
    ("x-caller-bin", "AAEC"),
    ("x-several", "a"),
    ("x-several", "b"),
    ("x-vary", "v"),
    ("x-accord-passport", "forged"),
    ("x_accord_tenant", "forged"),
];
const SENT: Pairs =
    &[("x-caller", "1"), ("x-caller-bin", "AAEC"), ("x-several", "a"), ("x-several", "b"), ("x-vary", "v")];
const HEAD: Pairs =
    &[("x-kept", "1"), ("x-kept-bin", "AAEC"), ("x-other", "2"), ("x-several", "a"), ("x-several", "b")];
const TRAILERS: Pairs = &[("x-late", "1"), ("x-late-bin", "AAEC"), ("x-late-several", "a"), ("x-late-several", "b")];

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("metadata_of_the_caller", [], Expected::ok().sent(SENT)).caller(CALLER),
        Row::new(
            "metadata_of_an_answer",
            [with_trailers(with_head(Reply::text("m")))],
            Expected::ok().text("m").head(HEAD).trailers(TRAILERS),
        ),
        Row::new(
            "metadata_of_an_error",
            [with_trailers(with_head(Reply::error(Code::NotFound, "no").with_head()))],
            Expected::error(Code::NotFound, "no").head(HEAD).trailers(TRAILERS),
        ),
        Row::new(
            "metadata_that_only_accord_may_say",
            [smuggled(Reply::text("m")).head("x-kept", "1")],
            Expected::ok().text("m").head(&[("x-kept", "1")]),
        ),
        Row::new(
            "metadata_that_only_accord_may_say_in_an_error",
            [smuggled(Reply::error(Code::NotFound, "no").with_head())],
            Expected::error(Code::NotFound, "no"),
        ),
    ]
}

fn with_head(reply: Reply) -> Reply {
    HEAD.iter().fold(reply, |reply, (name, value)| reply.head(name, value))
}

fn with_trailers(reply: Reply) -> Reply {
    TRAILERS.iter().fold(reply, |reply, (name, value)| reply.trailer(name, value))
}

fn smuggled(reply: Reply) -> Reply {
    let reply =
        reply.head("x-accord-fault", "auth").head("x_accord_fault", "auth").head("x-accord-invalidation", "DEFERRED");
    reply.trailer("x-accord-fault", "auth").trailer("x-accord_fault", "auth").trailer("x-accord-passport", "forged")
}
