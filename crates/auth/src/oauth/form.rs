//! The parameters of a request: a form in its body, bounded, with each parameter once (RFC 6749, section 3.2).

use std::collections::HashMap;

use axum::{body::Body, extract::Request};
use http::{header, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::Problem;

/// The longest form in bytes: an exchange brings two tokens of 4 KiB, of which each byte may be written as three.
const LARGEST: usize = 32 * 1024;

/// The most parameters; no grant has half as many.
const MOST: usize = 32;

/// Parameters by name. Those without a value count as not sent.
#[derive(Debug, Default)]
pub(super) struct Form(HashMap<String, String>);

impl Form {
    /// Reads the whole request.
    pub(super) async fn read(request: Request) -> Result<(Parts, Self), Problem> {
        let (head, body) = request.into_parts();
        if head.uri.query().is_some() {
            return Err(Problem::invalid_request("parameters belong into the body, and none into the URL"));
        }
        if !is_form(&head) {
            return Err(Problem::invalid_request("the content-type must be application/x-www-form-urlencoded"));
        }
        let form = Self::parse(&bytes(body).await?)?;
        Ok((head, form))
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let (mut found, mut seen) = (HashMap::new(), 0);
        for (name, value) in form_urlencoded::parse(bytes) {
            seen += 1;
            if seen > MOST {
                return Err(Problem::invalid_request("there are more than 32 parameters"));
            }
            // Two of a name could be read differently by different hops.
            if found.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Problem::invalid_request("a parameter comes more than once"));
            }
        }
        found.retain(|_, value| !value.is_empty());
        Ok(Self(found))
    }

    /// A parameter, where it was sent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter without which nothing can be done.
    pub(super) fn required(&self, name: &'static str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::invalid_request(format!("`{name}` is missing")))
    }
}

fn is_form(head: &Parts) -> bool {
    let mut types = head.headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (types.next().and_then(|value| value.to_str().ok()).unwrap_or_default(), types.next());
    let essence = first.split(';').next().unwrap_or_default().trim();
    second.is_none() && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

async fn bytes(body: Body) -> Result<Vec<u8>, Problem> {
    // What says that it is too long is not waited for.
    if body.size_hint().lower() > LARGEST as u64 {
        return Err(Problem::too_large());
    }
    match Limited::new(body, LARGEST).collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large()),
        Err(_) => Err(Problem::invalid_request("the body ended before its end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Form::parse(text.as_bytes()).unwrap_err().description
    }

    #[test]
    fn parameters_are_decoded() {
        let form = Form::parse(b"scope=a+b%20c&client_id=shop").unwrap();
        assert_eq!((form.get("scope"), form.get("client_id")), (Some("a b c"), Some("shop")));
    }

    #[test]
    fn parameter_without_a_value_counts_as_not_sent() {
        let form = Form::parse(b"scope=&client_id").unwrap();
        assert_eq!((form.get("scope"), form.get("client_id")), (None, None));
    }

    #[test]
    fn parameter_that_comes_twice_is_refused_even_without_a_value() {
        for text in ["scope=a&scope=b", "scope=a&scope=a", "scope=&scope=a", "sc%6fpe=a&scope=a"] {
            assert_eq!(error(text), "a parameter comes more than once", "{text}");
        }
    }

    #[test]
    fn more_parameters_than_the_bound_are_refused() {
        let text = |count: usize| (0..count).map(|number| format!("p{number}=x")).collect::<Vec<_>>().join("&");
        assert!(Form::parse(text(MOST).as_bytes()).is_ok());
        assert_eq!(error(&text(MOST + 1)), "there are more than 32 parameters");
    }
}
