//! What a request may say. Every violation is named with the path of its field, all of them at once.

use accord_api::catalog::v1::{Availability, CreateProductRequest, Product, UpdateProductRequest};
use accord_runtime::violations::{refuse, unless, violation};
use tonic::Status;
use tonic_types::FieldViolation;

const LARGEST_THUMBNAIL: usize = 64 * 1024;

/// The product to create.
pub(crate) fn create(request: CreateProductRequest) -> Result<Product, Status> {
    product(request.product)
}

/// The product to replace.
pub(crate) fn update(request: UpdateProductRequest) -> Result<Product, Status> {
    product(request.product)
}

/// An id in its form: 1 to 64 of `a-z`, `0-9`, `-`.
pub(crate) fn id(id: &str, path: &str) -> Result<(), Status> {
    refuse([wrong_id(id, path)])
}

/// Ways in which a product can be had, each known.
pub(crate) fn availabilities(values: &[i32], path: &str) -> Result<(), Status> {
    let wrong = |(index, value): (usize, &i32)| wrong_availability(*value, &format!("{path}[{index}]"));
    refuse(values.iter().enumerate().map(wrong))
}

fn product(product: Option<Product>) -> Result<Product, Status> {
    let product = product.ok_or_else(|| violation("product", "is required"))?;
    let price = product.price.as_ref();
    refuse([
        wrong_id(&product.id, "product.id"),
        unless((1..=200).contains(&product.title.chars().count()), "product.title", "must have 1 to 200 characters"),
        unless(
            price.is_none_or(|price| currency(&price.currency)),
            "product.price.currency",
            "must be an ISO 4217 code such as `EUR`",
        ),
        unless(price.is_none_or(|price| price.minor_units >= 0), "product.price.minor_units", "must not be negative"),
        wrong_availability(product.availability, "product.availability"),
        unless(product.version >= 0, "product.version", "must not be negative"),
        unless(product.thumbnail.len() <= LARGEST_THUMBNAIL, "product.thumbnail", "must have at most 64 KiB"),
    ])?;
    Ok(product)
}

fn wrong_id(id: &str, path: &str) -> Option<FieldViolation> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let right = (1..=64).contains(&id.len()) && id.bytes().all(allowed);
    unless(right, path, "must be 1 to 64 of `a-z`, `0-9`, `-`")
}

fn wrong_availability(value: i32, path: &str) -> Option<FieldViolation> {
    unless(Availability::try_from(value).is_ok(), path, "is not a known availability")
}

fn currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use accord_api::catalog::v1::Price;
    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    fn fields(refusal: &Status) -> Vec<String> {
        let details = refusal.get_error_details();
        let violations = details.bad_request().expect("a BadRequest").field_violations.clone();
        violations.into_iter().map(|violation| violation.field).collect()
    }

    fn good() -> Product {
        Product { id: "oak-desk".into(), title: "Oak desk".into(), ..Product::default() }
    }

    #[test]
    fn validation_names_every_wrong_field() {
        let wrong = Product {
            id: "Oak Desk".into(),
            price: Some(Price { currency: "euro".into(), minor_units: -1 }),
            availability: 99,
            ..Product::default()
        };
        let refusal = create(CreateProductRequest { product: Some(wrong) }).expect_err("refused");
        assert_eq!(refusal.code(), Code::InvalidArgument);
        assert_eq!(
            fields(&refusal),
            [
                "product.id",
                "product.title",
                "product.price.currency",
                "product.price.minor_units",
                "product.availability"
            ]
        );
    }

    #[test]
    fn valid_product_passes_unchanged() {
        assert_eq!(update(UpdateProductRequest { product: Some(good()) }).expect("accepted"), good());
    }

    #[test]
    fn missing_product_is_a_violation() {
        let refusal = create(CreateProductRequest { product: None }).expect_err("refused");
        assert_eq!(fields(&refusal), ["product"]);
    }

    #[test]
    fn violation_names_an_element_by_its_index() {
        assert_eq!(fields(&availabilities(&[1, 9], "availability").expect_err("refused")), ["availability[1]"]);
    }
}
