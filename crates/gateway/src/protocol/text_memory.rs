//! The memory of a text while it is written: JSON may be many times as long as the message that it is made of.

use crate::{
    fault::{Component, Fault},
    memory,
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::fair_share::Held;
use accord_transcode::Malformed;

/// How many times the bound of its message a text may take. Strings of control characters take six times their bytes; names of enums,
/// and of fields at their defaults, may take more.
const MAX_GROWTH: u64 = 16;
/// A text that a small bound does not hold for.
const SMALL: u64 = 1 << 20;

/// Asked whether a text may take so many bytes.
pub(super) type MayTake<'a> = &'a mut dyn FnMut(usize) -> bool;

/// The memory of one text.
pub(super) struct TextMemory<'a> {
    held: &'a mut Held,
    /// What else is held of the call.
    beside: usize,
    most: u64,
}

impl<'a> TextMemory<'a> {
    /// Of the text of a message of at most `limit` bytes.
    pub(super) fn new(held: &'a mut Held, beside: usize, limit: u64) -> Self {
        Self { held, beside, most: limit.saturating_mul(MAX_GROWTH).max(SMALL) }
    }

    /// Writes the text, or says why there is none: it is too long, or its message is not what was declared.
    pub(super) fn write<T>(
        self,
        write: impl FnOnce(MayTake<'_>) -> Result<T, Malformed>,
        problem: impl FnOnce(&Malformed) -> String,
    ) -> Result<T, Fault> {
        let Self { held, beside, most } = self;
        let mut refused = None;
        let written = write(&mut |bytes| {
            if bytes as u64 > most {
                return false;
            }
            refused = held.set((beside + bytes) as u64).err();
            refused.is_none()
        });
        written.map_err(|error| match (error, refused) {
            (_, Some(shed)) => memory::shed(shed),
            (Malformed::TooLong, None) => too_long(most),
            (error, None) => Fault::malformed(problem(&error)),
        })
    }
}

/// What is wrong with a message of a stream.
pub(super) fn not_declared(error: &Malformed) -> String {
    format!("a message of the stream is not the declared one: {error}")
}

fn too_long(most: u64) -> Fault {
    let message = format!("the answer would take more than {most} bytes as JSON; ask for less of it, or by gRPC");
    Fault::new(Component::Upstream, Reason::ResponseTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{CallMemory, MemoryBudget};
    use accord_runtime::{
        fair_share::{FairShare, Holder},
        fault::reason_of,
    };

    /// Why there is no text that takes so many bytes, of a message that is bounded by so many, with a budget of so many.
    fn refusal(bytes: usize, limit: u64, budget: u64) -> Option<Reason> {
        let budget = MemoryBudget::new(budget, FairShare::DEFAULT);
        let mut held = CallMemory::new(&budget, Holder::principal("ada", 1)).response(0).unwrap();
        let write = |may_take: MayTake<'_>| if may_take(bytes) { Ok(()) } else { Err(Malformed::TooLong) };
        let written = TextMemory::new(&mut held, 0, limit).write(write, ToString::to_string);
        written.err().and_then(|fault| reason_of(fault.status()))
    }

    #[test]
    fn text_of_many_times_its_bound_is_response_too_large() {
        let (limit, budget) = (1 << 20, 1 << 40);
        assert_eq!(refusal(16 << 20, limit, budget), None);
        assert_eq!(refusal((16 << 20) + 1, limit, budget), Some(Reason::ResponseTooLarge));
        assert_eq!(refusal(1 << 20, 1, budget), None, "a small text is none of many bytes");
    }

    #[test]
    fn text_beyond_the_memory_budget_is_overloaded() {
        assert_eq!(refusal(2 << 20, 1 << 20, 1 << 20), Some(Reason::Overloaded));
    }
}
