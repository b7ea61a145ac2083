//! The rules of a replica, as far as a simulation takes them out.

use crate::grant::HOLDER_SHARE;

/// The rules that a simulation takes out one by one, to see that it would notice.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(crate) struct Rules {
    pub(crate) counted_from_sending: bool,
    pub(crate) applied_before_verified: bool,
    pub(crate) confirmed_after_leases: bool,
    pub(crate) counted_from_return: bool,
    pub(crate) holder_share: f64,
    pub(crate) first_time_on_another_log: bool,
    pub(crate) gap_begins_anew: bool,
    pub(crate) lost_record_begins_anew: bool,
    pub(crate) number_seen_before_is_looked_into: bool,
    pub(crate) append_tells_of_its_number_alone: bool,
    pub(crate) changes_of_keys_applied: bool,
    pub(crate) appended_is_read: bool,
    /// What can't be judged by number is held against the log as it is now, rather than as it was when it was last read.
    pub(crate) later_by_the_log: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        counted_from_sending: true,
        applied_before_verified: true,
        confirmed_after_leases: true,
        counted_from_return: true,
        holder_share: HOLDER_SHARE,
        first_time_on_another_log: true,
        gap_begins_anew: true,
        lost_record_begins_anew: true,
        number_seen_before_is_looked_into: true,
        append_tells_of_its_number_alone: true,
        changes_of_keys_applied: true,
        appended_is_read: true,
        later_by_the_log: true,
    };
}
