//! Weights of content negotiation (RFC 9110, 12.4.2).

/// The weight among the parameters of a choice, in thousandths: 1000 where none is said. None where it is malformed.
pub(super) fn of<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let weight = parameters.find_map(|parameter| parameter.strip_prefix(['q', 'Q'])?.strip_prefix('='));
    weight.map_or(Some(1000), thousandths)
}

/// A weight between 0 and 1 with at most three decimals.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let unit = [1000, 100, 10, 1].get(decimals.len())?;
    let decimals: u16 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
    match whole {
        "0" => Some(decimals * unit),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_that_is_malformed_is_none() {
        for weight in ["2", "1.5", "0.1234", "x", "", "-1"] {
            assert_eq!(thousandths(weight), None, "{weight}");
        }
    }

    #[test]
    fn weight_is_told_in_thousandths() {
        assert_eq!(of(["q=0.25"].into_iter()), Some(250));
        assert_eq!(of(["level=1", "Q=1.000"].into_iter()), Some(1000));
        assert_eq!(of([].into_iter()), Some(1000));
    }
}
