//! Turns: in each round every server answers as many requests, so that what the machine does besides meets all of them alike.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{machine, report::Figures};

/// Requests before the first turn that is counted: connections, caches and allocators have what they need then.
pub(super) const WARM_UP: u32 = 3000;

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
}

impl Amount {
    /// Requests that a subject gets in all, warm-up included.
    pub(super) fn in_all(self, subject: &Subject<'_>) -> u32 {
        WARM_UP.div_ceil(subject.per_request) + self.rounds * self.requests.div_ceil(subject.per_request)
    }
}

/// Gives everyone its turns.
pub(super) fn interleaved(subjects: &[Subject<'_>], amount: Amount) -> Result<Vec<Figures>> {
    for subject in subjects {
        (subject.send)(WARM_UP.div_ceil(subject.per_request)).with_context(|| subject.name.clone())?;
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
