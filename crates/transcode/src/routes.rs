//! HTTP routing: which binding a request's path belongs to.
//!
//! Templates are kept as a tree of segments. At each segment a literal goes before `*`, and `*` before `**`; where the
//! first choice leads nowhere the next is tried. A path has exactly one form that matches: what another component could
//! read as a different path is refused rather than tidied up.

use std::{borrow::Cow, ops::Range};

use accord_contract::http::{PathTemplate, Segment};
use http::Method;

use crate::path;

/// HTTP methods and path templates, each with what it leads to.
#[derive(Debug, Clone)]
pub struct Routes<T> {
    /// The root first.
    nodes: Vec<Node<T>>,
}

/// A request's route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'r, 'p, T> {
    /// What the route leads to.
    pub value: &'r T,
    /// The variables' values, decoded, in the template's order.
    pub variables: Vec<Cow<'p, str>>,
}

/// Why a request has no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMatch {
    /// No template matches the path.
    #[error("nothing is served under this path")]
    NotFound,
    /// The path is served, but not by this HTTP method.
    #[error("this path is not served by this HTTP method")]
    MethodNotAllowed {
        /// The methods it is served by, for the `allow` header.
        allowed: Vec<Method>,
    },
    /// The path is not in the one form that can match.
    #[error("the path {0}")]
    NotCanonical(&'static str),
}

/// Why a table of routes cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Two routes would match the same requests.
    #[error("{method} {template} is bound twice")]
    Twice {
        /// The HTTP method, `*` for any.
        method: String,
        /// The template of the second route.
        template: String,
    },
    /// A route has a method that HTTP has no form for.
    #[error("{0:?} is not an HTTP method")]
    Method(String),
}

#[derive(Debug, Clone)]
struct Node<T> {
    /// Sorted by text.
    literals: Vec<(Box<str>, usize)>,
    /// Behind `*`.
    one: Option<usize>,
    /// Routes that end here.
    ends: Vec<End<T>>,
    /// Behind `**`, which is any number of segments.
    rest: Option<usize>,
}

#[derive(Debug, Clone)]
struct End<T> {
    /// Any method, if none.
    method: Option<Method>,
    verb: Option<Box<str>>,
    captures: Vec<Capture>,
    value: T,
}

/// The segments of a variable, by where they begin and where they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Capture {
    start: Edge,
    end: Edge,
}

/// A place between segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// Behind so many segments from the front.
    Front(usize),
    /// Before so many segments at the back: what follows `**` is counted from there.
    Back(usize),
}

impl Edge {
    fn of(self, segments: usize) -> usize {
        match self {
            Self::Front(before) => before,
            Self::Back(behind) => segments.saturating_sub(behind),
        }
    }
}

impl<T> Routes<T> {
    /// Builds the table from HTTP methods (`*` is any), templates and what they lead to.
    pub fn build<'t>(routes: impl IntoIterator<Item = (&'t str, &'t PathTemplate, T)>) -> Result<Self, RouteError> {
        let mut built = Self { nodes: vec![Node::default()] };
        for (method, template, value) in routes {
            built.insert(method, template, value)?;
        }
        Ok(built)
    }

    /// Finds the route of a raw path, as it stands in the request line without its query. What answers to GET answers to
    /// HEAD as well.
    pub fn find<'p>(&self, method: &Method, path: &'p str) -> Result<Match<'_, 'p, T>, NoMatch> {
        let mut segments = path::segments(path).map_err(NoMatch::NotCanonical)?;
        let whole = segments.clone();
        let verb = path::split_verb(path, &mut segments);
        let wanted = |end: &End<T>| match &end.method {
            Some(served) => served == method || (*method == Method::HEAD && *served == Method::GET),
            None => true,
        };
        // A colon may also belong to a value: only a verb that was declared is one.
        let found = verb.and_then(|verb| self.search(path, &segments, Some(verb), &mut { wanted }));
        if let Some(end) = found {
            return end.matched(path, &segments);
        }
        if let Some(end) = self.search(path, &whole, None, &mut { wanted }) {
            return end.matched(path, &whole);
        }
        Err(self.refusal(path, verb.map(|verb| (verb, &segments[..])), &whole))
    }

    fn refusal(&self, path: &str, with_verb: Option<(&str, &[Range<usize>])>, whole: &[Range<usize>]) -> NoMatch {
        let mut allowed = Vec::new();
        let mut collect = |end: &End<T>| {
            allowed.extend(end.method.clone());
            false
        };
        if let Some((verb, segments)) = with_verb {
            self.search(path, segments, Some(verb), &mut collect);
        }
        self.search(path, whole, None, &mut collect);
        if allowed.contains(&Method::GET) {
            allowed.push(Method::HEAD);
        }
        allowed.sort_by(|left, right| left.as_str().cmp(right.as_str()));
        allowed.dedup();
        if allowed.is_empty() { NoMatch::NotFound } else { NoMatch::MethodNotAllowed { allowed } }
    }

    /// The first end, by precedence, that has this verb and is wanted.
    fn search(
        &self,
        path: &str,
        segments: &[Range<usize>],
        verb: Option<&str>,
        wanted: &mut impl FnMut(&End<T>) -> bool,
    ) -> Option<&End<T>> {
        self.descend(0, path, segments, &mut |end| end.verb.as_deref() == verb && wanted(end))
    }

    fn descend(
        &self,
        node: usize,
        path: &str,
        segments: &[Range<usize>],
        wanted: &mut impl FnMut(&End<T>) -> bool,
    ) -> Option<&End<T>> {
        let node = &self.nodes[node];
        let found = match segments.split_first() {
            None => node.ends.iter().find(|end| wanted(end)),
            Some((segment, rest)) => {
                let literal = node.literal(&path[segment.clone()]);
                let literal = literal.and_then(|next| self.descend(next, path, rest, wanted));
                literal.or_else(|| self.descend(node.one?, path, rest, wanted))
            }
        };
        // The fewest segments for `**` first, so that of two templates the one goes first that says more behind it.
        found.or_else(|| {
            let behind = node.rest?;
            (0..=segments.len()).find_map(|covered| self.descend(behind, path, &segments[covered..], wanted))
        })
    }

    fn insert(&mut self, method: &str, template: &PathTemplate, value: T) -> Result<(), RouteError> {
        let any = method == "*";
        let named = Method::from_bytes(method.as_bytes()).map_err(|_| RouteError::Method(method.to_owned()))?;
        let (mut node, mut depth, mut captures) = (0, 0, Vec::new());
        let rest = template.rest();
        let edge = |depth: usize| match rest {
            Some((place, all)) if depth > place => Edge::Back(all - depth),
            _ => Edge::Front(depth),
        };
        for outer in &template.segments {
            let (inner, bound) = match outer {
                Segment::Variable(variable) => (&variable.segments[..], true),
                plain => (std::slice::from_ref(plain), false),
            };
            let start = depth;
            for segment in inner {
                node = self.child(node, segment);
                depth += 1;
            }
            if bound {
                captures.push(Capture { start: edge(start), end: edge(depth) });
            }
        }
        let verb = template.verb.as_deref().map(Box::from);
        let end = End { method: (!any).then_some(named), verb, captures, value };
        let ends = &mut self.nodes[node].ends;
        if ends.iter().any(|other| other.method == end.method && other.verb == end.verb) {
            return Err(RouteError::Twice { method: method.to_owned(), template: template.to_string() });
        }
        ends.push(end);
        // A named method goes before any method, and HEAD before the GET that would answer to it.
        ends.sort_by_key(|end| (end.method.is_none(), end.method != Some(Method::HEAD)));
        Ok(())
    }

    /// The node behind a segment.
    fn child(&mut self, node: usize, segment: &Segment) -> usize {
        let new = self.nodes.len();
        let child = match segment {
            Segment::Literal(text) => {
                let literals = &mut self.nodes[node].literals;
                match literals.binary_search_by(|(known, _)| (**known).cmp(text)) {
                    Ok(found) => literals[found].1,
                    Err(place) => {
                        literals.insert(place, (text.as_str().into(), new));
                        new
                    }
                }
            }
            Segment::One => *self.nodes[node].one.get_or_insert(new),
            Segment::Rest => *self.nodes[node].rest.get_or_insert(new),
            // A variable holds no variable: the parser sees to it.
            Segment::Variable(_) => node,
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }
}

impl<T> Node<T> {
    fn literal(&self, text: &str) -> Option<usize> {
        let found = self.literals.binary_search_by(|(known, _)| (**known).cmp(text)).ok()?;
        Some(self.literals[found].1)
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: Vec::new(), one: None, ends: Vec::new(), rest: None }
    }
}

impl<T> End<T> {
    fn matched<'p>(&self, path: &'p str, segments: &[Range<usize>]) -> Result<Match<'_, 'p, T>, NoMatch> {
        let variables = self.captures.iter().map(|capture| {
            let (start, end) = (capture.start.of(segments.len()), capture.end.of(segments.len()));
            let covered = segments.get(start..end).unwrap_or_default();
            let text = match covered {
                [] => "",
                [first, ..] => &path[first.start..covered[covered.len() - 1].end],
            };
            let single = match (capture.start, capture.end) {
                (Edge::Front(start), Edge::Front(end)) | (Edge::Back(end), Edge::Back(start)) => end == start + 1,
                _ => false,
            };
            let decoded = if single { path::decoded(text) } else { path::decoded_but_slashes(text) };
            decoded.ok_or(NoMatch::NotCanonical("is not UTF-8"))
        });
        Ok(Match { value: &self.value, variables: variables.collect::<Result<_, _>>()? })
    }
}
