//! Circles in what depends on what.

use std::collections::{BTreeMap, BTreeSet};

/// What each thing takes from others, by name.
pub(super) type Graph = BTreeMap<String, BTreeSet<String>>;

/// Each set of names that reach each other. One that reaches itself alone is such a set.
pub(super) fn circles(graph: &Graph) -> BTreeSet<BTreeSet<String>> {
    let reached: BTreeMap<_, _> = graph.keys().map(|name| (name, reach(name, graph))).collect();
    let circle = |name: &String| {
        let others = reached[name].iter().filter(|other| reached.get(other).is_some_and(|it| it.contains(name)));
        others.cloned().collect::<BTreeSet<_>>()
    };
    graph.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// Everything that a name takes from, directly or through others.
fn reach(name: &str, graph: &Graph) -> BTreeSet<String> {
    let (mut reached, mut ahead) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(next) = ahead.pop() {
        let fresh = graph.get(&next).into_iter().flatten().filter(|it| reached.insert((*it).clone())).cloned();
        ahead.extend(fresh.collect::<Vec<_>>());
    }
    reached
}
