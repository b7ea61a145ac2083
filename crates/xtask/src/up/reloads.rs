//! What became of a contract that was changed while `up` runs, such as an overlay with a mistake: told by the gateway's log.

use accord_fabric::{Fabric, metrics::sum};

/// How a line begins that says so, after the time and the place.
const RELOAD: &str = "contract reload";

/// How much of it has been told.
pub(super) struct Reloads {
    attempts: f64,
    told: usize,
}

impl Reloads {
    /// What the gateway has said already, as it started, is no news.
    pub(super) fn begin(fabric: &Fabric) -> Self {
        Self { attempts: 0.0, told: lines(&fabric.gateway.process.log()).count() }
    }

    /// What was not told yet. The log is read only where `metrics`, those of the gateway, say that there is something new.
    pub(super) fn news(&mut self, metrics: &str, fabric: &Fabric) -> Vec<String> {
        let attempts = sum(metrics, "accord_gateway_contract_reloads_total", &[]);
        if attempts <= self.attempts {
            return Vec::new();
        }
        self.attempts = attempts;
        let log = fabric.gateway.process.log();
        let news: Vec<_> = lines(&log).skip(self.told).map(str::to_owned).collect();
        self.told += news.len();
        news
    }
}

fn lines(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| Some(&line[line.find(RELOAD)?..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_is_told_without_time_and_place() {
        let log = "1  INFO a: listening\n2 ERROR b: contract reload refused after a change: mine.toml:3\n\
                   3  INFO b: contract reloaded after a change of the contract's files methods=3";
        let expected = [
            "contract reload refused after a change: mine.toml:3",
            "contract reloaded after a change of the contract's files methods=3",
        ];
        assert_eq!(lines(log).collect::<Vec<_>>(), expected);
    }
}
