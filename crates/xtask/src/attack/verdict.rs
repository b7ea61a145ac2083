//! Whether the neighbour was spared, and the memory stayed within its bound.

use anyhow::{Result, bail};

use super::neighbour::Felt;

pub(super) const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// What a gateway may take beside what it holds for calls, in bytes.
const BESIDE: f64 = 64.0 * MEBIBYTE;

/// What went wrong so far.
pub(super) struct Verdict {
    most: f64,
    broken: Vec<String>,
}

impl Verdict {
    /// Of a gateway that may hold so many bytes for calls.
    pub(super) fn new(budget: f64) -> Self {
        Self { most: budget + BESIDE, broken: Vec::new() }
    }

    /// Every call of the neighbour succeeds.
    pub(super) fn of_calls(&mut self, attack: &str, felt: &Felt) {
        if felt.failed > 0 {
            self.broken.push(format!("{} calls of the neighbour failed ({attack})", felt.failed));
        }
    }

    /// So many bytes of memory at most are within the bound.
    pub(super) fn of_memory(&mut self, attack: &str, highest: f64) {
        if highest > self.most {
            let [highest, most] = [highest, self.most].map(|bytes| bytes / MEBIBYTE);
            self.broken.push(format!("the gateway took {highest:.0} MiB of at most {most:.0} MiB ({attack})"));
        }
    }

    /// An error that says all that went wrong.
    pub(super) fn passed(self) -> Result<()> {
        if self.broken.is_empty() { Ok(()) } else { bail!("{}", self.broken.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn felt(failed: usize) -> Felt {
        Felt { failed, times: Vec::new() }
    }

    #[test]
    fn failed_call_of_the_neighbour_fails_the_command() {
        let mut verdict = Verdict::new(0.0);
        verdict.of_calls("none", &felt(0));
        verdict.of_calls("streams", &felt(2));
        assert_eq!(verdict.passed().unwrap_err().to_string(), "2 calls of the neighbour failed (streams)");
    }

    #[test]
    fn memory_above_the_budget_and_64_mib_fails_the_command() {
        let mut verdict = Verdict::new(256.0 * MEBIBYTE);
        verdict.of_memory("none", 320.0 * MEBIBYTE);
        verdict.of_memory("bodies", 321.0 * MEBIBYTE);
        assert_eq!(verdict.passed().unwrap_err().to_string(), "the gateway took 321 MiB of at most 320 MiB (bodies)");
    }

    #[test]
    fn attack_that_nobody_else_felt_passes() {
        let mut verdict = Verdict::new(256.0 * MEBIBYTE);
        verdict.of_calls("none", &felt(0));
        verdict.of_memory("none", 100.0 * MEBIBYTE);
        assert!(verdict.passed().is_ok());
    }
}
