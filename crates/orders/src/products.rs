//! Products of the catalog, as items that can be ordered.

use accord_api::{
    catalog::v1::{Availability, GetProductRequest, Price, Product},
    orders::v1::Item,
};
use tonic::{Code, Request, Status, metadata::AsciiMetadataValue};

use crate::neighbours::{Neighbours, failed};

/// Where a price comes from.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    /// As the catalog's contract allows: it may come from the cache.
    AsDeclared,
    /// From the catalog itself.
    Anew,
}

/// Why a product can't be ordered: what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unorderable(pub &'static str);

impl Neighbours {
    /// So many of a product, at its price; or what is wrong with it.
    pub(crate) async fn item(
        &self,
        product_id: &str,
        quantity: i32,
        reading: Reading,
    ) -> Result<Result<Item, Unorderable>, Status> {
        let mut request = Request::new(GetProductRequest { id: product_id.to_owned() });
        if reading == Reading::Anew {
            request.metadata_mut().insert("cache-control", AsciiMetadataValue::from_static("no-cache"));
        }
        match self.products.clone().get_product(request).await {
            Ok(answer) => Ok(orderable(answer.into_inner().product.unwrap_or_default(), quantity)),
            // The other: what was asked for has not the form of an id.
            Err(refusal) if matches!(refusal.code(), Code::NotFound | Code::InvalidArgument) => {
                Ok(Err(Unorderable("is no product of the catalog")))
            }
            Err(failure) => Err(failed(&failure)),
        }
    }
}

fn orderable(product: Product, quantity: i32) -> Result<Item, Unorderable> {
    if product.availability() == Availability::Discontinued {
        return Err(Unorderable("is no longer made"));
    }
    let Product { id: product_id, title, price, .. } = product;
    let price = price.filter(|Price { currency, .. }| !currency.is_empty()).ok_or(Unorderable("has no price"))?;
    Ok(Item { product_id, title, quantity, price: Some(price) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(availability: Availability) -> Product {
        let price = Some(Price { currency: "EUR".into(), minor_units: 45_900 });
        let availability = availability.into();
        Product { id: "oak-desk".into(), title: "Oak desk".into(), price, availability, ..Product::default() }
    }

    #[test]
    fn item_has_the_price_of_its_product() {
        let item = orderable(desk(Availability::InStock), 2).unwrap();
        assert_eq!((item.product_id.as_str(), item.quantity), ("oak-desk", 2));
        assert_eq!(item.price, desk(Availability::InStock).price);
    }

    #[test]
    fn product_that_is_no_longer_made_or_has_no_price_cannot_be_ordered() {
        assert_eq!(orderable(desk(Availability::Discontinued), 1), Err(Unorderable("is no longer made")));
        let free = Product { price: None, ..desk(Availability::InStock) };
        assert_eq!(orderable(free, 1), Err(Unorderable("has no price")));
    }
}
