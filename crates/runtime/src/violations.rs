//! What is wrong with the fields of a request: every violation with the path of its field, all of them in one answer.
//!
//! For what a handler asks of its messages. What the mesh itself refuses has a reason, and is built by [`fault`](crate::fault).

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// A violation, unless the field is right.
pub fn unless(right: bool, path: &str, description: &str) -> Option<FieldViolation> {
    (!right).then(|| FieldViolation::new(path, description))
}

/// `INVALID_ARGUMENT` where there is a violation, with all of them in its message and as `google.rpc.BadRequest`.
pub fn refuse(found: impl IntoIterator<Item = Option<FieldViolation>>) -> Result<(), Status> {
    let violations: Vec<_> = found.into_iter().flatten().collect();
    if violations.is_empty() { Ok(()) } else { Err(invalid(violations)) }
}

/// `INVALID_ARGUMENT` with one violation.
pub fn violation(path: &str, description: &str) -> Status {
    invalid(vec![FieldViolation::new(path, description)])
}

fn invalid(violations: Vec<FieldViolation>) -> Status {
    let sentence: Vec<_> = violations.iter().map(|one| format!("`{}` {}", one.field, one.description)).collect();
    Status::with_error_details(Code::InvalidArgument, sentence.join("; "), ErrorDetails::with_bad_request(violations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_in_the_message_and_in_the_details() {
        let found = [unless(false, "a", "is wrong"), unless(true, "b", "is wrong"), unless(false, "c.d", "is missing")];
        let refusal = refuse(found).unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, "`a` is wrong; `c.d` is missing"));
        let violations = refusal.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.into_iter().map(|one| one.field).collect::<Vec<_>>(), ["a", "c.d"]);
    }

    #[test]
    fn nothing_wrong_is_no_refusal() {
        assert!(refuse([unless(true, "a", "is wrong")]).is_ok());
    }
}
