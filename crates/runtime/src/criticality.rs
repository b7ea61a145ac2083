//! Criticality: which calls a limit refuses first as it fills up, by what their contract declares.

use accord_api::accord::policy::v1::Criticality;

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

/// Its name in metrics.
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
    fn undeclared_criticality_is_critical() {
        assert_eq!(kept(Criticality::Unspecified, 100), 5);
        assert_eq!(name(Criticality::Unspecified), name(ALL[index(Criticality::Unspecified)]));
    }
}
