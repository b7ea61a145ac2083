//! Criticality: which calls a limit refuses first as it fills up, by what their contract declares.
//!
//! It travels with a call: what is done for one that is shed early is shed as early at the hops that follow.

use accord_api::accord::policy::v1::Criticality;
use http::{HeaderMap, HeaderName, HeaderValue};

/// How critical the call is that a call is made for, such as `sheddable`. What is not below the default does not travel.
pub const HEADER: HeaderName = HeaderName::from_static("x-accord-criticality");

/// From the most critical on. Where nothing is declared it is the second.
pub const ALL: [Criticality; 4] =
    [Criticality::CriticalPlus, Criticality::Critical, Criticality::SheddablePlus, Criticality::Sheddable];

/// What of a limit is kept for calls that are more critical.
pub fn kept(criticality: Criticality, limit: u64) -> u64 {
    match criticality {
        Criticality::CriticalPlus => 0,
        Criticality::Critical | Criticality::Unspecified => limit / 20,
        Criticality::SheddablePlus => limit / 5,
        Criticality::Sheddable => limit / 2,
    }
}

/// Its place in [`ALL`].
pub fn index(criticality: Criticality) -> usize {
    ALL.iter().position(|known| *known == criticality).unwrap_or(1)
}

/// The less critical of the two.
pub fn least(one: Criticality, other: Criticality) -> Criticality {
    ALL[index(one).max(index(other))]
}

/// Tells the next hop, where there is something to tell.
pub fn carry(headers: &mut HeaderMap, criticality: Criticality) {
    if matches!(criticality, Criticality::SheddablePlus | Criticality::Sheddable) {
        headers.insert(HEADER, HeaderValue::from_static(name(criticality)));
    }
}

/// How critical the call is that this one is made for, as its headers say; none where they say nothing that is known.
pub fn carried(headers: &HeaderMap) -> Option<Criticality> {
    let value = headers.get(HEADER)?;
    ALL.into_iter().find(|criticality| *value == *name(*criticality))
}

/// Its name in metrics, and between hops.
pub fn name(criticality: Criticality) -> &'static str {
    match criticality {
        Criticality::CriticalPlus => "critical_plus",
        Criticality::Critical | Criticality::Unspecified => "critical",
        Criticality::SheddablePlus => "sheddable_plus",
        Criticality::Sheddable => "sheddable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_critical_calls_leave_more_of_a_limit_to_others() {
        assert_eq!(ALL.map(|criticality| kept(criticality, 100)), [0, 5, 20, 50]);
    }

    #[test]
    fn least_of_two_is_the_one_that_is_shed_earlier() {
        assert_eq!(least(Criticality::CriticalPlus, Criticality::Sheddable), Criticality::Sheddable);
        assert_eq!(least(Criticality::SheddablePlus, Criticality::Unspecified), Criticality::SheddablePlus);
        assert_eq!(least(Criticality::Unspecified, Criticality::CriticalPlus), Criticality::Critical);
    }

    #[test]
    fn criticality_below_the_default_travels() {
        for criticality in ALL {
            let mut headers = HeaderMap::new();
            carry(&mut headers, criticality);
            let travels = matches!(criticality, Criticality::SheddablePlus | Criticality::Sheddable);
            assert_eq!(carried(&headers), travels.then_some(criticality));
        }
        assert_eq!(carried(&HeaderMap::from_iter([(HEADER, HeaderValue::from_static("very"))])), None);
    }

    #[test]
    fn undeclared_criticality_is_critical() {
        assert_eq!(kept(Criticality::Unspecified, 100), 5);
        assert_eq!(name(Criticality::Unspecified), name(ALL[index(Criticality::Unspecified)]));
    }
}
