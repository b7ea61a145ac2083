//! What a failure needs (delta debugging: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002):
//! operations of a run that fails are left out for as long as it breaks the same invariant.

use std::fmt;

use super::script::{Broken, Script};

/// Runs in which something is left out: some seconds at most, and the same for each replay.
const MOST_ATTEMPTS: usize = 1_000;

/// A run that fails, and what of it is enough.
#[derive(Debug)]
pub(super) struct Shrunk {
    seed: u64,
    whole: Broken,
    is_calm: bool,
    pub least: Broken,
}

/// Leaves out what the failure of a script does not need.
pub(super) fn shrink(script: &Script, whole: Broken, simulate: impl Fn(&Script) -> Result<(), Broken>) -> Shrunk {
    let seed = script.seed;
    let mut attempts = MOST_ATTEMPTS;
    let mut attempt = |operations: Vec<usize>, is_calm| {
        attempts = attempts.checked_sub(1)?;
        let broken = simulate(&Script { seed, operations, is_calm }).err()?;
        (broken.invariant() == whole.invariant()).then_some(broken)
    };
    let calm = attempt(places(&whole), true);
    let (is_calm, mut least) = (calm.is_some(), calm.unwrap_or_else(|| whole.clone()));
    let mut size = least.operations.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < least.operations.len() {
            let mut without = places(&least);
            without.drain(from..(from + size).min(without.len()));
            match attempt(without, is_calm) {
                Some(broken) => least = broken,
                None => from += size,
            }
        }
        size /= 2;
    }
    Shrunk { seed, whole, is_calm, least }
}

fn places(broken: &Broken) -> Vec<usize> {
    broken.operations.iter().map(|(place, _)| *place).collect()
}

impl fmt::Display for Shrunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, whole, is_calm, least } = self;
        let (all, few) = (whole.operations.len(), least.operations.len());
        let network = if *is_calm { ", and no message is late or lost" } else { "" };
        writeln!(formatter, "seed {seed}: {}", whole.told)?;
        writeln!(formatter, "{few} of its {all} operations are enough{network}: {}", least.told)?;
        for (place, what) in &least.operations {
            writeln!(formatter, "{place:>6}  {what}")?;
        }
        write!(formatter, "again: cargo xtask simulate --from {seed} --seeds 1")
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::OPERATIONS;
    use super::*;

    /// Fails where these are among its operations.
    fn needs(culprits: &'static [usize]) -> impl Fn(&Script) -> Result<(), Broken> {
        move |script| {
            let fails = culprits.iter().all(|culprit| script.operations.contains(culprit));
            let operations = script.operations.iter().map(|place| (*place, "read")).collect();
            if fails { Err(Broken { told: "I1: a culprit".to_owned(), operations }) } else { Ok(()) }
        }
    }

    fn shrunk(simulate: impl Fn(&Script) -> Result<(), Broken>) -> Shrunk {
        let script = Script::whole(7);
        let broken = simulate(&script).expect_err("it fails");
        shrink(&script, broken, simulate)
    }

    #[test]
    fn failure_is_shortened_to_the_operations_that_it_needs() {
        let shrunk = shrunk(needs(&[3, 700, 1_999]));
        assert_eq!(places(&shrunk.least), [3, 700, 1_999]);
        assert!(shrunk.to_string().contains("3 of its 2000 operations are enough"), "{shrunk}");
    }

    #[test]
    fn failure_of_another_invariant_is_not_taken_for_the_same() {
        let simulate = |script: &Script| {
            let mut broken = needs(&[])(script).expect_err("it fails");
            if script.operations.len() < OPERATIONS {
                broken.told = "I2: something else".to_owned();
            }
            Err(broken)
        };
        assert_eq!(shrunk(simulate).least.operations.len(), OPERATIONS);
    }

    #[test]
    fn shortening_ends_after_its_attempts() {
        let tried = std::cell::Cell::new(0);
        let simulate = |script: &Script| {
            tried.set(tried.get() + 1);
            // Each is needed.
            if script.operations.len() < OPERATIONS { Ok(()) } else { needs(&[])(script) }
        };
        shrunk(simulate);
        assert!(tried.get() <= MOST_ATTEMPTS + 1, "{}", tried.get());
    }
}
