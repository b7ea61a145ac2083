//! The called method in the table, and what is answered where there is none.

use crate::{
    fault::{Component, Fault},
    table::{MethodEntry, MethodTable},
};
use accord_api::accord::fault::v1::Reason;
use http::StatusCode;
use std::{sync::Arc, time::Duration};

/// The method at its own path, `/pkg.Service/Method`.
pub(crate) fn at_path<'a>(table: &'a MethodTable, path: &str) -> Result<&'a Arc<MethodEntry>, Fault> {
    table.grpc(path).ok_or_else(|| unknown(table, path))
}

/// That no method is served at a path.
pub(crate) fn unknown(table: &MethodTable, path: &str) -> Fault {
    if table.is_pending() {
        let message = "no such method is known yet: the descriptors of an upstream that is down have not been read";
        let after = Duration::from_secs(1);
        return Fault::retry(Component::Upstream, Reason::ContractPending, message, after);
    }
    let message = format!("no method is served at {}", shown(path));
    Fault::new(Component::Gateway, Reason::MethodUnknown, message).http(StatusCode::NOT_FOUND)
}

/// An unknown caller's path is repeated only as far as it is short and plain.
fn shown(path: &str) -> &str {
    if path.len() <= 256 && path.bytes().all(|byte| byte.is_ascii_graphic()) { path } else { "this path" }
}
