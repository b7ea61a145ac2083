//! Turns: in each round every server answers as many requests, so that what the machine does besides meets all of them alike.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{machine, report::Figures};

/// Requests before the first turn that is counted: connections, caches and allocators have what they need then.
pub(super) const WARM_UP: u32 = 3000;
/// Bytes that hardly matter beside all else that a request costs.
const SMALL: u32 = 4096;
/// Requests in a turn, however large they are.
const LEAST: u32 = 100;

/// One server in a case, and the load that is put on it.
pub(super) struct Subject<'a> {
    /// What it is called in tables.
    pub name: String,
    /// Whose processor time counts.
    pub processes: Vec<u32>,
    /// What one request counts as: the keys of a batch, the messages of a stream.
    pub per_request: u32,
    /// Sends so many requests; an error unless each succeeds.
    pub send: Box<dyn Fn(u32) -> Result<()> + 'a>,
}

impl Subject<'_> {
    fn turn(&self, requests: u32) -> Result<Vec<f64>> {
        let requests = requests.div_ceil(self.per_request);
        let before = self.times()?;
        (self.send)(requests)?;
        let after = self.times()?;
        let count = f64::from(requests * self.per_request);
        Ok(before
            .iter()
            .zip(&after)
            .map(|(before, after)| after.saturating_sub(*before).as_secs_f64() * 1e9 / count)
            .collect())
    }

    fn times(&self) -> Result<Vec<Duration>> {
        self.processes.iter().map(|process| machine::cpu_time(*process)).collect()
    }
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    /// Turns of each.
    pub rounds: u32,
    /// Requests in a turn.
    pub requests: u32,
    /// Requests before them.
    pub warm_up: u32,
}

impl Amount {
    /// So many, and as many before them as small requests need.
    pub(super) fn new(rounds: u32, requests: u32) -> Self {
        Self { rounds, requests, warm_up: WARM_UP }
    }

    /// Fewer requests where one has so many bytes, since it takes longer.
    pub(super) fn of_size(self, bytes: u32) -> Self {
        let fewer = |requests: u32| (requests / (bytes / SMALL).max(1)).max(LEAST.min(requests));
        Self { requests: fewer(self.requests), warm_up: fewer(self.warm_up), ..self }
    }

    /// Requests that a subject gets in all, warm-up included.
    pub(super) fn in_all(self, subject: &Subject<'_>) -> u32 {
        self.warm_up.div_ceil(subject.per_request) + self.rounds * self.requests.div_ceil(subject.per_request)
    }
}

/// Gives everyone its turns.
pub(super) fn interleaved(subjects: &[Subject<'_>], amount: Amount) -> Result<Vec<Figures>> {
    for subject in subjects {
        (subject.send)(amount.warm_up.div_ceil(subject.per_request)).with_context(|| subject.name.clone())?;
    }
    let mut figures: Vec<_> = subjects.iter().map(|subject| Figures::new(&subject.name)).collect();
    for round in 0..amount.rounds {
        for turn in 0..subjects.len() {
            let at = (usize::try_from(round)? + turn) % subjects.len();
            figures[at].add(subjects[at].turn(amount.requests).with_context(|| subjects[at].name.clone())?);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_are_fewer() {
        let requests = |bytes| Amount::new(1, 20_000).of_size(bytes).requests;
        assert_eq!([100, 16_000, 1_000_000].map(requests), [20_000, 6666, 100]);
    }

    #[test]
    fn few_requests_stay_as_few_where_they_are_large() {
        assert_eq!(Amount::new(1, 20).of_size(1_000_000).requests, 20);
    }
}
