//! What is wrong with policies, each slip once: Cedar validates a policy for every action and kind of principal that it is about,
//! and says of each what is wrong at the same place.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
};

use cedar_policy::ValidationError;
use miette::Diagnostic as _;

/// Why strict validation takes no `[]`, and what says the same.
const EMPTY_SET: &str = "`[]` says not of what it is a set; ask `.isEmpty()` of a set, or name an element";

/// An error of the validator, and where it is.
pub(super) struct Located<'a> {
    /// Of the files, and of the bytes in one: by it slips are ordered, as somebody reads them.
    pub order: (usize, usize),
    /// `file:line:column`
    pub place: String,
    /// What the validator says.
    pub error: &'a ValidationError,
}

/// One slip: what is said of one policy at one place.
struct Slip {
    order: (usize, usize),
    place: String,
    texts: BTreeSet<String>,
}

/// One line for each slip, in the order of the files. It quotes what is said for one action, and counts the others.
pub(super) fn lines<'a>(errors: impl Iterator<Item = Located<'a>>) -> Vec<String> {
    let mut slips: HashMap<_, Slip> = HashMap::new();
    for Located { order, place, error } in errors {
        let same = (order, error.policy_id(), mem::discriminant(error));
        let slip = slips.entry(same).or_insert_with(|| Slip { order, place, texts: BTreeSet::new() });
        slip.texts.insert(text(error));
    }
    let mut slips: Vec<_> = slips.into_values().collect();
    slips.sort_by(|one, other| (one.order, &one.texts).cmp(&(other.order, &other.texts)));
    slips.iter().map(Slip::line).collect()
}

impl Slip {
    fn line(&self) -> String {
        let text = self.texts.first().map_or("", String::as_str);
        let others = match self.texts.len() {
            0 | 1 => String::new(),
            all => format!(" (and {} more, for other actions or kinds of principals)", all - 1),
        };
        format!("{}: {text}{others}", self.place)
    }
}

/// What the validator says, with what it or we would do about it.
fn text(error: &ValidationError) -> String {
    let help = match error {
        ValidationError::EmptySetForbidden(_) => Some(EMPTY_SET.to_owned()),
        _ => error.help().map(|help| help.to_string()),
    };
    help.map_or_else(|| error.to_string(), |help| format!("{error}; {help}"))
}
