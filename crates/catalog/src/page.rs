//! Pages of a list: a token names the last product seen, so that pages neither skip nor repeat a product that stays,
//! whatever is written between two of them.

use accord_api::catalog::v1::{ListProductsRequest, Product};
use accord_runtime::violations::violation;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use prost::Message;
use tonic::Status;

use crate::validate;

const DEFAULT_SIZE: usize = 20;
const LARGEST_SIZE: usize = 100;

/// What to read for one page.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    /// Products in it.
    pub size: usize,
    /// The id after which it begins.
    pub after: String,
    /// The filter.
    pub availability: Vec<i32>,
}

/// The content of a page token. It repeats the filter, so that a token can't continue another list.
#[derive(Clone, PartialEq, Message)]
struct Cursor {
    #[prost(string, tag = "1")]
    after: String,
    #[prost(int32, repeated, tag = "2")]
    availability: Vec<i32>,
}

impl Page {
    /// The page that a request asks for.
    pub(crate) fn of(request: ListProductsRequest) -> Result<Self, Status> {
        validate::availabilities(&request.availability, "availability")?;
        let size = match usize::try_from(request.page_size) {
            Ok(0) => DEFAULT_SIZE,
            Ok(size) if size <= LARGEST_SIZE => size,
            _ => return Err(violation("page_size", "must be 1 to 100")),
        };
        let availability = request.availability;
        let after = match request.page_token.as_str() {
            "" => String::new(),
            token => {
                Cursor::read(token)
                    .filter(|cursor| cursor.availability == availability)
                    .ok_or_else(|| violation("page_token", "is not a token of this list"))?
                    .after
            }
        };
        Ok(Self { size, after, availability })
    }

    /// Cuts one product more than the page holds down to the page, and makes the token for the next.
    pub(crate) fn cut(self, mut products: Vec<Product>) -> (Vec<Product>, String) {
        let more = products.len() > self.size;
        products.truncate(self.size);
        let last = products.last().filter(|_| more);
        let token = last.map_or_else(String::new, |last| {
            Cursor { after: last.id.clone(), availability: self.availability }.write()
        });
        (products, token)
    }
}

impl Cursor {
    fn read(token: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        Self::decode(bytes.as_slice()).ok()
    }

    fn write(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(page_size: i32, page_token: &str, availability: &[i32]) -> ListProductsRequest {
        ListProductsRequest { page_size, page_token: page_token.to_owned(), availability: availability.to_vec() }
    }

    fn products(ids: &[&str]) -> Vec<Product> {
        ids.iter().map(|id| Product { id: (*id).to_owned(), ..Product::default() }).collect()
    }

    #[test]
    fn page_token_continues_after_the_last_product() {
        let first = Page::of(asking(2, "", &[1])).expect("a page");
        let (page, token) = first.cut(products(&["a", "b", "c"]));
        assert_eq!(page.len(), 2);
        // The size may change between pages; the filter may not.
        let second = Page::of(asking(5, &token, &[1])).expect("a page");
        assert_eq!(second, Page { size: 5, after: "b".into(), availability: vec![1] });
        assert_eq!(second.cut(products(&["c"])).1, "", "the last page has no token");
    }

    #[test]
    fn page_token_of_another_list_is_refused() {
        let (_, token) = Page::of(asking(1, "", &[1])).expect("a page").cut(products(&["a", "b"]));
        assert!(Page::of(asking(1, &token, &[2])).is_err());
        assert!(Page::of(asking(1, "not a token", &[])).is_err());
    }

    #[test]
    fn page_size_out_of_range_is_refused() {
        assert_eq!(Page::of(asking(0, "", &[])).expect("a page").size, 20);
        assert!(Page::of(asking(-1, "", &[])).is_err());
        assert!(Page::of(asking(101, "", &[])).is_err());
    }
}
