//! Routes: the table finds what a search through all templates finds, with the same values.

use accord_contract::http::{PathTemplate, Segment};
use accord_transcode::{NoMatch, Routes};
use http::Method;

use crate::{Target, percent::decoded};

pub(crate) const TARGET: Target = Target {
    name: "path_match",
    check,
    tokens: &[
        "GET /", "POST /", "* /", "HEAD /", "\n", "\n\n", "{a}", "{b=**}", "{c=x/*}", "/**", "/*", ":verb", "x", "/v1",
        "%2F", "%41", "%C3%A9", "/x/y/z", ":", "..",
    ],
};

/// Above it, a search through all is slow, and nothing new is tried.
const MOST_ROUTES: usize = 12;

/// Lines of methods and templates, an empty one, and lines of methods and paths.
fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (table, requests) = text.split_once("\n\n").unwrap_or((text, ""));
    let lines = table.lines().filter_map(|line| line.split_once(' '));
    let routes: Vec<(&str, PathTemplate)> =
        lines.filter_map(|(method, template)| Some((method, template.parse().ok()?))).take(MOST_ROUTES).collect();
    let numbered = routes.iter().enumerate().map(|(index, (method, template))| (*method, template, index));
    let Ok(built) = Routes::build(numbered) else { return };
    for (method, path) in requests.lines().filter_map(|line| line.split_once(' ')) {
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { continue };
        let found = built.find(&method, path);
        if matches!(found, Err(NoMatch::NotCanonical(_))) {
            continue;
        }
        let found = found.ok().map(|found| (*found.value, found.variables.iter().map(ToString::to_string).collect()));
        assert_eq!(found, searched(&routes, &method, path), "{method} {path}");
    }
}

type Found = (usize, Vec<String>);

/// How a template goes before others at each segment, and the values of its variables.
type Matched = (Vec<(u8, usize)>, Vec<String>);

/// A verb that is declared goes before a colon in a value.
fn searched(routes: &[(&str, PathTemplate)], method: &Method, path: &str) -> Option<Found> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').filter(|_| path != "/").collect();
    let with_verb = segments.split_last().and_then(|(last, others)| {
        let (last, verb) = last.rsplit_once(':').filter(|(last, verb)| !last.is_empty() && !verb.is_empty())?;
        best(routes, method, &[others, &[last]].concat(), Some(verb))
    });
    with_verb.or_else(|| best(routes, method, &segments, None))
}

/// Of all that match, the one that goes first at the first segment at which they differ.
fn best(routes: &[(&str, PathTemplate)], method: &Method, segments: &[&str], verb: Option<&str>) -> Option<Found> {
    let candidates = routes.iter().enumerate().filter_map(|(index, (served, template))| {
        let is_served = *served == "*" || served == &method.as_str() || (method == Method::HEAD && *served == "GET");
        if !is_served || template.verb.as_deref() != verb {
            return None;
        }
        let (order, values) = matched(template, segments)?;
        // A named method goes before any, and HEAD before the GET that would answer to it.
        Some((order, *served == "*", *served != "HEAD", index, values))
    });
    candidates.min().map(|(.., index, values)| (index, values))
}

/// A template against all segments of a path.
fn matched(template: &PathTemplate, segments: &[&str]) -> Option<Matched> {
    let flat = template.segments.iter().map(|segment| match segment {
        Segment::Variable(variable) => variable.segments.len(),
        _ => 1,
    });
    let length: usize = flat.sum();
    let mut rest = segments;
    let mut order = Vec::new();
    let mut values = Vec::new();
    for segment in &template.segments {
        let (inner, is_bound) = match segment {
            Segment::Variable(variable) => (&variable.segments[..], true),
            plain => (std::slice::from_ref(plain), false),
        };
        let start = rest;
        for plain in inner {
            let taken = match plain {
                Segment::Literal(text) => (rest.first() == Some(&text.as_str())).then_some((0, 1))?,
                Segment::One => (!rest.is_empty()).then_some((1, 1))?,
                _ => (2, (segments.len() + 1).checked_sub(length)?),
            };
            order.push(taken);
            rest = rest.get(taken.1..)?;
        }
        if is_bound {
            let covered = &start[..start.len() - rest.len()];
            let is_one = inner.len() == 1 && inner[0] != Segment::Rest;
            values.push(covered.iter().map(|segment| value(segment, is_one)).collect::<Vec<_>>().join("/"));
        }
    }
    // The end goes before more of what could follow.
    order.push((0, 0));
    rest.is_empty().then_some((order, values))
}

/// Escapes of slashes stay where a value has several segments.
fn value(segment: &str, is_one: bool) -> String {
    let plain = decoded(segment, |byte| byte == b'/' && !is_one);
    String::from_utf8(plain).expect("a path that was found is UTF-8")
}
