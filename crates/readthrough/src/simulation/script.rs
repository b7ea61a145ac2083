//! What of a seed is played, operation by operation.
//!
//! Each operation draws from random numbers of its own, which the seed and its place in the run give. So the others do the same
//! where one is left out.

use super::scheduler::Rng;

/// Operations of a seed.
pub(super) const OPERATIONS: usize = 2_000;

/// What of a seed is run.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub seed: u64,
    /// The places of its operations, in their order.
    pub operations: Vec<usize>,
    /// Messages arrive at once, and none is lost.
    pub is_calm: bool,
}

/// A run, operation by operation.
pub(super) trait Run {
    /// Where it draws from.
    fn rng(&self) -> Rng;
    /// Draws an operation and carries it out; what it is.
    fn operate(&mut self) -> &'static str;
    /// Whether all that was seen so far is as it should be.
    fn verify(&mut self) -> Result<(), String>;
    /// Lets everything come to rest, and looks at what remains.
    fn settle(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// An invariant that a run broke.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub told: String,
    /// The operations up to then.
    pub operations: Vec<(usize, &'static str)>,
}

impl Script {
    /// All of a seed.
    pub(super) fn whole(seed: u64) -> Self {
        Self { seed, operations: (0..OPERATIONS).collect(), is_calm: false }
    }

    pub(super) fn rng(&self) -> Rng {
        Rng::seeded(self.seed)
    }

    /// The seed of an operation.
    fn at(&self, place: usize) -> u64 {
        // Another one for each pair: the multiplier is odd, and no run has as many operations as 24 bits can count.
        ((self.seed << 24) ^ (place as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Plays a script to its end, or to the first invariant that is broken.
pub(super) fn play<R: Run>(script: &Script, run: &mut R) -> Result<(), Broken> {
    let (rng, mut operations) = (run.rng(), Vec::with_capacity(script.operations.len()));
    for place in &script.operations {
        rng.reseed(script.at(*place));
        operations.push((*place, run.operate()));
        if let Err(told) = run.verify() {
            return Err(Broken { told, operations });
        }
    }
    rng.reseed(script.at(OPERATIONS));
    run.settle().map_err(|told| Broken { told, operations })
}

impl Broken {
    /// Which invariant it is.
    pub(super) fn invariant(&self) -> &str {
        self.told.split(':').next().unwrap_or_default()
    }
}
