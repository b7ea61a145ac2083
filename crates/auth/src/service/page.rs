//! Lists in pages: how large one may be, and where the next one begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::denial::Denial;

/// Items on a page where the caller says no number, and at most. The store reads as many at once.
const SIZE: (usize, usize) = (100, 500);

/// The page that is asked for.
pub(super) struct Page {
    size: usize,
    /// The name of the last item of the page before; empty for the first.
    pub(super) after: String,
}

/// A token that no page ended with.
pub(super) const UNKNOWN_TOKEN: Denial = Denial::Field("page_token", "is not one that was given");

impl Page {
    /// Most items that a list reads at once.
    pub(super) const MOST: usize = SIZE.1;

    /// How many items it has at most.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// As a request says it.
    pub(super) fn of(page_size: i32, page_token: &str) -> Result<Self, Denial> {
        let size = match usize::try_from(page_size) {
            Ok(0) => SIZE.0,
            Ok(size) if size <= SIZE.1 => size,
            _ => return Err(Denial::Field("page_size", "must be 0 to 500")),
        };
        let after = URL_SAFE_NO_PAD.decode(page_token).ok().and_then(|name| String::from_utf8(name).ok());
        let after = after.ok_or(UNKNOWN_TOKEN)?;
        Ok(Self { size, after })
    }

    /// Of what the store read, this page, and the token of the next one; empty where this is the last.
    pub(super) fn cut<T>(&self, mut read: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, String) {
        let is_last = read.len() <= self.size && read.len() < SIZE.1;
        read.truncate(self.size);
        let last = read.last().filter(|_| !is_last).map(|last| URL_SAFE_NO_PAD.encode(name(last)));
        (read, last.unwrap_or_default())
    }
}
