//! What a basket may hold, and what it comes to.

use accord_api::{
    catalog::v1::Price,
    orders::v1::{Basket, Item},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Most products in a basket.
const MOST_PRODUCTS: usize = 50;
/// Most of one product.
pub(crate) const MOST_OF_ONE: i32 = 99;

/// Adds an item; to those of the same product where there are some, at the new price.
pub(crate) fn add(basket: &mut Basket, item: Item) -> Result<(), Status> {
    let is_full = basket.items.len() == MOST_PRODUCTS;
    match basket.items.iter_mut().find(|held| held.product_id == item.product_id) {
        Some(held) => {
            let quantity = held.quantity.saturating_add(item.quantity);
            if quantity > MOST_OF_ONE {
                let problem = format!("{} of it are in the basket, which may hold {MOST_OF_ONE}", held.quantity);
                return Err(precondition("QUANTITY", &item.product_id, &problem));
            }
            *held = Item { quantity, ..item };
        }
        None if is_full => {
            let problem = format!("the basket holds {MOST_PRODUCTS} other products, and may not hold more");
            return Err(precondition("BASKET_FULL", &item.product_id, &problem));
        }
        None => basket.items.push(item),
    }
    basket.total = total(&basket.items)?;
    Ok(())
}

/// Takes out what was ordered, and leaves what was added meanwhile.
pub(crate) fn take_out(basket: &mut Basket, ordered: &[Item]) -> Result<(), Status> {
    for item in ordered {
        let held = basket.items.iter_mut().find(|held| held.product_id == item.product_id);
        if let Some(held) = held {
            held.quantity = held.quantity.saturating_sub(item.quantity);
        }
    }
    basket.items.retain(|held| held.quantity > 0);
    basket.total = total(&basket.items)?;
    Ok(())
}

/// What the items come to; nothing where there are none.
pub(crate) fn total(items: &[Item]) -> Result<Option<Price>, Status> {
    let mut sum: Option<Price> = None;
    for item in items {
        let price = item.price.clone().unwrap_or_default();
        let before = sum.get_or_insert_with(|| Price { currency: price.currency.clone(), minor_units: 0 });
        if before.currency != price.currency {
            let problem = format!("its price is in {}, and the others' in {}", price.currency, before.currency);
            return Err(precondition("CURRENCY", &item.product_id, &problem));
        }
        let of_these = price.minor_units.checked_mul(item.quantity.into());
        before.minor_units = of_these.and_then(|amount| amount.checked_add(before.minor_units)).ok_or_else(|| {
            precondition("AMOUNT", &item.product_id, "with it the basket costs more than can be told")
        })?;
    }
    Ok(sum)
}

/// `FAILED_PRECONDITION` because of a product of the basket, or of the basket as a whole.
pub(crate) fn precondition(kind: &str, subject: &str, problem: &str) -> Status {
    let details = ErrorDetails::with_precondition_failure_violation(kind, subject, problem);
    Status::with_error_details(Code::FailedPrecondition, format!("`{subject}`: {problem}"), details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(product_id: &str, quantity: i32, currency: &str, minor_units: i64) -> Item {
        let price = Some(Price { currency: currency.into(), minor_units });
        Item { product_id: product_id.into(), title: "A thing".into(), quantity, price }
    }

    fn kind(refusal: &Status) -> String {
        let failure = refusal.get_details_precondition_failure().expect("a PreconditionFailure");
        failure.violations[0].r#type.clone()
    }

    fn quantities(basket: &Basket) -> Vec<(&str, i32)> {
        basket.items.iter().map(|item| (item.product_id.as_str(), item.quantity)).collect()
    }

    #[test]
    fn product_added_twice_is_one_item_at_the_later_price() {
        let mut basket = Basket::default();
        add(&mut basket, item("a", 2, "EUR", 100)).unwrap();
        add(&mut basket, item("b", 1, "EUR", 5)).unwrap();
        add(&mut basket, item("a", 1, "EUR", 110)).unwrap();
        assert_eq!(quantities(&basket), [("a", 3), ("b", 1)]);
        assert_eq!(basket.total.unwrap().minor_units, 335);
    }

    #[test]
    fn basket_holds_no_more_than_its_bounds() {
        let mut basket = Basket::default();
        add(&mut basket, item("a", MOST_OF_ONE, "EUR", 1)).unwrap();
        assert_eq!(kind(&add(&mut basket, item("a", 1, "EUR", 1)).unwrap_err()), "QUANTITY");
        for n in 1..MOST_PRODUCTS {
            add(&mut basket, item(&n.to_string(), 1, "EUR", 1)).unwrap();
        }
        assert_eq!(kind(&add(&mut basket, item("z", 1, "EUR", 1)).unwrap_err()), "BASKET_FULL");
    }

    #[test]
    fn second_currency_and_an_amount_beyond_all_bounds_are_refused() {
        assert_eq!(kind(&total(&[item("a", 1, "EUR", 1), item("b", 1, "SEK", 1)]).unwrap_err()), "CURRENCY");
        assert_eq!(kind(&total(&[item("a", 2, "EUR", i64::MAX)]).unwrap_err()), "AMOUNT");
        assert_eq!(kind(&total(&[item("a", 1, "EUR", i64::MAX), item("b", 1, "EUR", 1)]).unwrap_err()), "AMOUNT");
    }

    #[test]
    fn what_was_added_after_the_order_stays_in_the_basket() {
        let ordered = [item("a", 2, "EUR", 1), item("b", 1, "EUR", 1)];
        let mut basket = Basket { items: ordered.to_vec(), total: None };
        add(&mut basket, item("a", 1, "EUR", 7)).unwrap();
        take_out(&mut basket, &ordered).unwrap();
        assert_eq!(quantities(&basket), [("a", 1)]);
        assert_eq!(basket.total.unwrap().minor_units, 7);
    }

    #[test]
    fn empty_basket_comes_to_nothing() {
        assert_eq!(total(&[]).unwrap(), None);
    }
}
