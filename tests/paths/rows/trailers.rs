//! Trailers that are larger than usual, and larger than anything that is let in.

use crate::{
    call::rpc_status,
    reply::{Reply, Wait},
    row::{Expected, Row},
};
use prost_types::Any;
use tonic::{Code, Status};

pub(crate) fn rows() -> Vec<Row> {
    let message = |bytes| "m".repeat(bytes);
    let large = Any { type_url: "type.googleapis.com/acme.v1.Unknown".to_owned(), value: vec![0; 40 << 10] };
    let details = rpc_status(Code::FailedPrecondition, "large", vec![large]);
    vec![
        Row::new(
            "trailers_of_20_kib_message",
            [Reply::error(Code::FailedPrecondition, &message(20 << 10)).with_head()],
            Expected::error(Code::FailedPrecondition, message(20 << 10)),
        ),
        Row::new(
            "trailers_of_40_kib_details",
            [Reply::status(&Status::with_details(Code::FailedPrecondition, "large", details)).with_head()],
            Expected::error(Code::FailedPrecondition, "large").details(&["Unknown"]),
        ),
        // Beyond the bound (`max_header_bytes`) the code is left, and why nothing else is.
        Row::new(
            "trailers_of_200_kib",
            [
                Reply::text("unharmed").after(Wait::Barrier),
                Reply::error(Code::FailedPrecondition, &message(200 << 10)).with_head(),
            ],
            Expected::error_of_code(Code::FailedPrecondition),
        )
        .beside(),
    ]
}
