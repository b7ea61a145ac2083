//! Load of an endpoint: peak EWMA of its latency (as in Finagle) times the calls in flight.

use std::time::Duration;

use tokio::time::Instant;

/// How long a latency is remembered: after this time it weighs 1/e.
const MEMORY: Duration = Duration::from_secs(10);

/// Cost of an endpoint that was asked but has not answered yet: one call explores it, the next ones wait to see.
const UNEXPLORED: f64 = 1e9;

/// The estimate of an endpoint's latency. Jumps up with every slower answer, sinks slowly with faster ones.
#[derive(Debug)]
pub(crate) struct PeakEwma {
    seconds: f64,
    at: Instant,
}

impl PeakEwma {
    /// Nothing known yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { seconds: 0.0, at: now }
    }

    /// Takes an answer's latency in.
    pub(crate) fn observe(&mut self, latency: Duration, now: Instant) {
        let sample = latency.as_secs_f64();
        let kept = self.kept(now);
        self.seconds = if sample > self.seconds { sample } else { self.seconds * kept + sample * (1.0 - kept) };
        self.at = now;
    }

    /// The expected wait of one more call, relative to other endpoints.
    pub(crate) fn cost(&self, in_flight: usize, now: Instant) -> f64 {
        let in_flight = f64::from(u32::try_from(in_flight).unwrap_or(u32::MAX));
        if self.seconds == 0.0 && in_flight > 0.0 {
            return UNEXPLORED + in_flight;
        }
        self.seconds * self.kept(now) * (in_flight + 1.0)
    }

    fn kept(&self, now: Instant) -> f64 {
        (-(now.duration_since(self.at).as_secs_f64()) / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn peak_ewma_rises_at_once_and_decays_with_time() {
        let start = Instant::now();
        let mut load = PeakEwma::new(start);
        load.observe(Duration::from_millis(10), start);
        let quick = load.cost(0, start);
        load.observe(Duration::from_secs(1), start);
        assert!(load.cost(0, start) > quick * 50.0);
        assert!(load.cost(0, start + Duration::from_mins(1)) < quick);
    }

    #[tokio::test(start_paused = true)]
    async fn unexplored_endpoint_gets_one_call_first() {
        let start = Instant::now();
        let load = PeakEwma::new(start);
        assert!(load.cost(0, start) < f64::EPSILON);
        assert!(load.cost(1, start) > UNEXPLORED);
    }
}
