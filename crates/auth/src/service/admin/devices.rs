//! Devices that ask to act for somebody, as administrators see and end them.

use accord_api::accord::auth::v1::{CancelDeviceRequest, ListDevicesRequest, ListDevicesResponse};
use accord_token::verify;
use prost::Message as _;
use tonic::Status;

use super::Administration;
use crate::service::{
    message::{device, given},
    page::Page,
};

impl Administration {
    pub(super) async fn devices(&self, request: ListDevicesRequest) -> Result<ListDevicesResponse, Status> {
        let ListDevicesRequest { page_size, page_token, subject } = request;
        let page = Page::of(page_size, &page_token)?;
        let read = self.0.store.open_codes_after(&page.after, given(&subject), verify::now()).await?;
        let (read, next_page_token) = page.cut(read, |code| code.user_code.clone());
        Ok(ListDevicesResponse { devices: read.into_iter().map(device).collect(), next_page_token })
    }

    pub(super) async fn cancel(&self, actor: &str, request: CancelDeviceRequest) -> Result<(), Status> {
        let once = self.once(&request.idempotency_key, "CancelDevice", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref());
        if !admin.was_done().await? {
            admin.cancel_device(&request.user_code).await?;
        }
        Ok(())
    }
}
