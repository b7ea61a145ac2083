//! Links, as administrators add, see and end them.

use accord_api::accord::auth::v1::{
    AddLinkRequest, Link as WireLink, ListLinksRequest, ListLinksResponse, RemoveLinkRequest,
};
use prost::Message as _;
use tonic::Status;

use super::{Administration, version};
use crate::{
    domain::denial::Denial,
    service::{message::given, page::Page},
    store::links::Link,
};

/// What no part of a link has in it, so that a page can end with both.
const BETWEEN: char = ' ';

impl Administration {
    pub(super) async fn link(&self, actor: &str, request: AddLinkRequest) -> Result<(), Status> {
        let once = self.once(&request.idempotency_key, "AddLink", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        let (link, subject) = read(request.link)?;
        if !admin.was_done().await? {
            admin.link(&subject, &link).await?;
        }
        Ok(())
    }

    pub(super) async fn links(&self, request: ListLinksRequest) -> Result<ListLinksResponse, Status> {
        let ListLinksRequest { page_size, page_token, subject } = request;
        let page = Page::of(page_size, &page_token)?;
        let read = self.0.store.links_after(&last(&page.after)?, given(&subject)).await?;
        let (read, next_page_token) =
            page.cut(read, |(Link { issuer, external }, _)| format!("{issuer}{BETWEEN}{external}"));
        let links = read.into_iter().map(|(Link { issuer, external }, subject)| WireLink {
            issuer,
            external_subject: external,
            subject,
        });
        Ok(ListLinksResponse { links: links.collect(), next_page_token })
    }

    pub(super) async fn unlink(&self, actor: &str, request: RemoveLinkRequest) -> Result<(), Status> {
        let once = self.once(&request.idempotency_key, "RemoveLink", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        let (link, subject) = read(request.link)?;
        if admin.was_done().await? {
            return Ok(());
        }
        admin.unlink(&subject, &link).await?;
        self.announce().await
    }
}

/// A link, and whose it is.
fn read(link: Option<WireLink>) -> Result<(Link, String), Denial> {
    let WireLink { issuer, external_subject, subject } = link.ok_or(Denial::Field("link", "must be given"))?;
    Ok((Link { issuer, external: external_subject }, subject))
}

/// The link with which the page before ended.
fn last(after: &str) -> Result<Link, Denial> {
    if after.is_empty() {
        return Ok(Link::default());
    }
    let (issuer, external) =
        after.split_once(BETWEEN).ok_or(Denial::Field("page_token", "is not one that was given"))?;
    Ok(Link { issuer: issuer.to_owned(), external: external.to_owned() })
}
