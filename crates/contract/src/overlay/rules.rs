//! The rules of all overlays, found by the names that their selectors begin with: a look-up does not go through them all.

use std::collections::{HashMap, HashSet};

use super::{Overlay, Rule, Selector};

/// The rules of overlays.
pub(crate) struct Rules<'a> {
    all: Vec<(&'a Overlay, &'a Rule)>,
    /// Their places in `all`, by method, service or package; those for every method by the empty name.
    by_name: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Rules<'a> {
    pub(crate) fn of(overlays: &'a [Overlay]) -> Self {
        let all: Vec<_> = overlays.iter().flat_map(|it| it.rules.iter().map(move |rule| (it, rule))).collect();
        let mut by_name = HashMap::<_, Vec<_>>::new();
        for (place, (_, rule)) in all.iter().enumerate() {
            by_name.entry(name(&rule.selector)).or_default().push(place);
        }
        Self { all, by_name }
    }

    /// The rules for a method with the overlay of each, the strongest first: the more specific, then the later.
    pub(crate) fn of_method(&self, method: &str) -> Vec<(&'a Overlay, &'a Rule)> {
        let mut matching: Vec<_> = self.matching(method).collect();
        // All matching selectors of a kind are prefixes of the method, so the greater one is the longer one.
        matching.sort_by(|one, other| (&self.all[*one].1.selector, one).cmp(&(&self.all[*other].1.selector, other)));
        matching.into_iter().rev().map(|place| self.all[place]).collect()
    }

    /// Those that match none of these methods.
    pub(crate) fn idle(&self, methods: &[String]) -> impl Iterator<Item = (&'a Overlay, &'a Rule)> {
        let used: HashSet<_> = methods.iter().flat_map(|method| self.matching(method)).collect();
        self.all.iter().enumerate().filter(move |(place, _)| !used.contains(place)).map(|(_, found)| *found)
    }

    fn matching(&self, method: &str) -> impl Iterator<Item = usize> {
        self.near(method).filter(move |place| self.all[*place].1.selector.matches(method))
    }

    /// The rules that name the method, its service, or a package around it.
    fn near(&self, method: &str) -> impl Iterator<Item = usize> {
        let service = method.split_once('/').map_or(method, |(service, _)| service);
        let around = service.match_indices('.').map(|(dot, _)| &service[..dot]);
        let names = [method, service, ""].into_iter().chain(around);
        names.filter_map(|name| self.by_name.get(name)).flatten().copied()
    }
}

fn name(selector: &Selector) -> &str {
    match selector {
        Selector::All => "",
        Selector::Package(name) | Selector::Service(name) | Selector::Method(name) => name,
        Selector::Methods(begin) => begin.split_once('/').map_or(begin, |(service, _)| service),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(file: &str, selectors: &[&str]) -> Overlay {
        let rule =
            |selector: &&str| format!("[[rule]]\nselector = \"{selector}\"\nidempotency_level = \"IDEMPOTENT\"\n");
        Overlay::parse(file, &selectors.iter().map(rule).collect::<String>()).unwrap()
    }

    #[test]
    fn more_specific_selector_wins_then_the_later_one() {
        let overlays = [
            overlay("a", &["echo.v1.Echo/Say", "echo.v1.Echo/*", "echo.*", "*", "echo.v1.*", "echo.v1.Echo/S*"]),
            overlay("b", &["echo.v1.Echo/*", "other.*", "echo.v1.Echo/Sa*"]),
        ];
        let order: Vec<_> = Rules::of(&overlays)
            .of_method("echo.v1.Echo/Say")
            .into_iter()
            .map(|(overlay, rule)| format!("{} {}", overlay.file, rule.selector))
            .collect();
        let expected = [
            "a echo.v1.Echo/Say",
            "b echo.v1.Echo/Sa*",
            "a echo.v1.Echo/S*",
            "b echo.v1.Echo/*",
            "a echo.v1.Echo/*",
            "a echo.v1.*",
            "a echo.*",
            "a *",
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn rules_of_other_services_are_not_looked_at() {
        let overlays = [overlay("a", &["echo.v1.Other/Say", "echo.v1.Other/S*", "echo.v2.*", "echo.v1.Other/*"])];
        assert_eq!(Rules::of(&overlays).near("echo.v1.Echo/Say").count(), 0);
    }

    #[test]
    fn rule_that_matches_no_method_is_idle() {
        let overlays = [overlay("a", &["echo.v1.Echo/S*", "echo.v1.Echo/T*", "echo.v1.*"])];
        let idle: Vec<_> = Rules::of(&overlays)
            .idle(&["echo.v1.Echo/Say".to_owned()])
            .map(|(_, rule)| rule.selector.to_string())
            .collect();
        assert_eq!(idle, ["echo.v1.Echo/T*"]);
    }
}
