//! How much memory the text of an answer may take while it is written.

use crate::violation::Malformed;

/// What nobody is asked about: most texts are no longer.
const UNASKED: usize = 16 << 10;

/// The room for a text: whoever keeps account of memory is asked for more before there is more of it.
pub(crate) struct Room<'a> {
    /// Where the text begins in what it is written to.
    begin: usize,
    granted: usize,
    /// What is in memory beside the text, for as long as it is written.
    beside: usize,
    may_take: &'a mut dyn FnMut(usize) -> bool,
}

impl<'a> Room<'a> {
    /// For a text that follows on what is in `out`.
    pub(crate) fn new(out: &[u8], may_take: &'a mut dyn FnMut(usize) -> bool) -> Self {
        Self { begin: out.len(), granted: UNASKED, beside: 0, may_take }
    }

    /// Whether there is room for the text as it is.
    #[inline]
    pub(crate) fn check(&mut self, out: &Vec<u8>) -> Result<(), Malformed> {
        if out.len() - self.begin + self.beside <= self.granted { Ok(()) } else { self.ask(out) }
    }

    /// Takes room for something beside the text.
    pub(crate) fn take(&mut self, bytes: usize, out: &Vec<u8>) -> Result<(), Malformed> {
        self.beside += bytes;
        self.check(out)
    }

    /// Gives it back.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.beside = self.beside.saturating_sub(bytes);
    }

    #[cold]
    fn ask(&mut self, out: &Vec<u8>) -> Result<(), Malformed> {
        // At least twice as much as before, so that nobody is asked often.
        self.granted = (out.capacity() - self.begin + self.beside).max(2 * self.granted);
        if (self.may_take)(self.granted) { Ok(()) } else { Err(Malformed::TooLong) }
    }
}
