//! Mutations of a corpus from a seed, for where no instrumentation guides them.

use crate::Target;

/// The longest input that is made.
const LONGEST: usize = 2048;

/// Inputs without an end, the same for the same seed.
pub struct Mutations<'a> {
    corpus: &'a [Vec<u8>],
    tokens: &'static [&'static str],
    state: u64,
}

impl<'a> Mutations<'a> {
    /// Of these entries, with the tokens of their target.
    pub fn new(target: &Target, corpus: &'a [Vec<u8>], seed: u64) -> Self {
        Self { corpus, tokens: target.tokens, state: seed }
    }

    /// A number below `end`, or zero where there is none (splitmix64).
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % (end as u64).max(1)).unwrap_or_default()
    }

    fn entry(&mut self) -> &'a [u8] {
        let index = self.below(self.corpus.len());
        self.corpus.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    /// A range of `bytes`.
    fn range(&mut self, bytes: usize) -> std::ops::Range<usize> {
        let start = self.below(bytes + 1);
        let length = self.below((bytes - start).min(64) + 1);
        start..start + length
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.below(256).to_le_bytes()[0],
            2 => drop(input.drain(self.range(input.len()))),
            3 => {
                let again = input[self.range(input.len())].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let other = self.entry();
                let piece = &other[self.range(other.len())];
                input.splice(at..at, piece.iter().copied());
            }
            5 if !self.tokens.is_empty() => {
                let token = self.tokens[self.below(self.tokens.len())];
                let replaced = if self.below(2) == 0 { at..at } else { self.range(input.len()) };
                input.splice(replaced, token.bytes());
            }
            6 => input.truncate(at),
            _ => {
                let inserted = [0, 1, b'/', b'"', b'\n', 0x7f, 0x80, 0xff][self.below(8)];
                input.insert(at, inserted);
            }
        }
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.entry().to_vec();
        for _ in 0..=self.below(5) {
            self.mutate(&mut input);
        }
        input.truncate(LONGEST);
        Some(input)
    }
}
