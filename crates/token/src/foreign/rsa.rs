//! RSA keys that prove nothing although they have the right size.

use std::ops::RangeInclusive;

/// The sizes of keys, in bits of their modulus.
const SIZES: RangeInclusive<usize> = 2048..=8192;

/// The longest exponent, in bytes: everybody has 65537, and the work of a check grows with it.
const LONGEST_EXPONENT: usize = 4;

/// Whether a modulus, without zeros before it, has a size that is accepted.
pub(super) fn is_modulus(n: &[u8]) -> bool {
    n.first().is_some_and(|first| *first != 0 && SIZES.contains(&(n.len() * 8 - first.leading_zeros() as usize)))
}

/// Whether an exponent, without zeros before it, proves anything: with 1 anybody signs, and an even one has no private half.
pub(super) fn is_exponent(e: &[u8]) -> bool {
    let is_short = e.len() <= LONGEST_EXPONENT && e.first().is_some_and(|first| *first != 0);
    is_short && e != [1] && e.last().is_some_and(|last| last % 2 == 1)
}

/// The odd primes up to 167. Of what is no such key, one modulus in 240 million has its form for all of them.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus has the form of those that chips of Infineon made until 2017, whose factors can be found (CVE-2017-15361; Nemec
/// and others, "The Return of Coppersmith's Attack", 2017, section 2.2): it is a power of 65537, modulo each small prime.
pub(super) fn is_roca(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let residue = modulus.iter().fold(0, |high, byte| (high * 256 + u32::from(*byte)) % prime);
        let mut powers = std::iter::successors(Some(1), |power| Some(power * (65537 % prime) % prime));
        (1..*prime).any(|_| powers.next() == Some(residue))
    })
}
