//! The opening handshake (RFC 6455, 4.2): who may open a WebSocket, what it is to carry, and the token that comes with it.

use super::Format;
use crate::{
    cors::is_own,
    fault::{Component, Fault},
    protocol::body::unsupported,
};
use accord_api::accord::fault::v1::Reason;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as HttpBody;

/// What a server adds to a key to prove that it speaks WebSocket.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const WEBSOCKET_VERSION: HeaderValue = HeaderValue::from_static("13");

/// Pages can set no header of a handshake, so the name of a subprotocol carries the token.
const BEARER: &str = "accord.bearer.";

/// A handshake that is accepted.
pub(super) struct Handshake {
    /// How answers are written.
    pub format: Format,
    accept: HeaderValue,
    /// The subprotocol, where any was offered.
    subprotocol: Option<&'static str>,
}

/// Why a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Malformed,
    Version,
    Origin,
    Subprotocol,
    Token,
}

/// Whether a WebSocket is asked for.
pub(super) fn is_asked<B>(request: &Request<B>) -> bool {
    let names = |name: HeaderName, token: &str| {
        let values = request.headers().get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|named| named.trim().eq_ignore_ascii_case(token))
    };
    request.version() == Version::HTTP_11 && names(header::UPGRADE, "websocket") && names(header::CONNECTION, "upgrade")
}

/// Accepts a handshake, and gives the token that it brings its usual place. `is_allowed` says of which origins pages may open one.
pub(super) fn accept<B: HttpBody>(
    request: &mut Request<B>,
    is_allowed: impl Fn(&HeaderValue) -> bool,
) -> Result<Handshake, Refused> {
    let headers = request.headers();
    if request.method() != Method::GET || !request.body().is_end_stream() {
        return Err(Refused::Malformed);
    }
    if single(headers, &header::SEC_WEBSOCKET_VERSION) != Some(&WEBSOCKET_VERSION) {
        return Err(Refused::Version);
    }
    let key = single(headers, &header::SEC_WEBSOCKET_KEY).ok_or(Refused::Malformed)?.as_bytes();
    if STANDARD.decode(key).ok().is_none_or(|nonce| nonce.len() != 16) {
        return Err(Refused::Malformed);
    }
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()));
    let accept = HeaderValue::try_from(accept).map_err(|_| Refused::Malformed)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origins = headers.get_all(header::ORIGIN);
    if !origins.iter().all(|origin| is_own(origin, host) || is_allowed(origin)) {
        return Err(Refused::Origin);
    }
    let Offered { format, token } = Offered::read(headers)?;
    if let Some(token) = token {
        request.headers_mut().append(header::AUTHORIZATION, token);
    }
    let subprotocol = format.map(Format::subprotocol);
    Ok(Handshake { format: format.unwrap_or(Format::Json), accept, subprotocol })
}

/// The value of a header that comes once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// What the offered subprotocols say. Nothing where none is offered.
struct Offered {
    format: Option<Format>,
    token: Option<HeaderValue>,
}

impl Offered {
    fn read(headers: &HeaderMap) -> Result<Self, Refused> {
        let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
        let names = lines.flat_map(|line| line.to_str().unwrap_or_default().split(',')).map(str::trim);
        let (mut format, mut token, mut is_offered) = (None, None, false);
        for name in names {
            is_offered = true;
            if let Some(bearer) = name.strip_prefix(BEARER) {
                let mut value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| Refused::Token)?;
                value.set_sensitive(true);
                if token.replace(value).is_some() {
                    return Err(Refused::Token);
                }
            }
            // The first of those that are known is the one that the client would rather have.
            format = format.or_else(|| Format::offered(name));
        }
        if is_offered && format.is_none() { Err(Refused::Subprotocol) } else { Ok(Self { format, token }) }
    }
}

impl Handshake {
    /// The response that switches the protocol.
    pub(super) fn response<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(name) = self.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        response
    }
}

impl Refused {
    /// The answer in its place.
    pub(super) fn fault(self) -> Fault {
        let header_refused = |message: &str| Fault::new(Component::Gateway, Reason::HeaderRefused, message);
        match self {
            Self::Malformed => header_refused(
                "a WebSocket is opened by a GET without a body, with one `sec-websocket-key` of 16 bytes in base64 (RFC 6455, 4.1)",
            ),
            Self::Version => unsupported("WebSocket is served in version 13: send `sec-websocket-version: 13`")
                .http(StatusCode::UPGRADE_REQUIRED)
                .header(header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION),
            Self::Origin => header_refused(
                "pages of this origin may open no WebSocket here; name it in `cors.origins` of the gateway's configuration",
            )
            .http(StatusCode::FORBIDDEN),
            Self::Subprotocol => unsupported(
                "none of the subprotocols is served: offer `accord.json` or `accord.proto`, beside `accord.bearer.TOKEN`",
            )
            .http(StatusCode::BAD_REQUEST),
            Self::Token => header_refused("the subprotocol `accord.bearer.TOKEN` is offered once at most"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;

    type Call = Request<Empty<bytes::Bytes>>;

    /// The handshake of the RFC, with other headers.
    fn asked(others: &[(HeaderName, &'static str)]) -> Call {
        let mut request = Request::new(Empty::new());
        let usual = [
            (header::HOST, "server.example.com"),
            (header::UPGRADE, "WebSocket"),
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (header::SEC_WEBSOCKET_VERSION, "13"),
        ];
        for (name, value) in usual {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in others {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        request
    }

    fn refused(others: &[(HeaderName, &'static str)]) -> Option<Refused> {
        accept(&mut asked(others), |origin| origin == "https://shop.example").err()
    }

    #[test]
    fn handshake_of_the_rfc_is_accepted() {
        let mut request = asked(&[]);
        assert!(is_asked(&request));
        let response = accept(&mut request, |_| false).ok().unwrap().response(());
        assert_eq!((response.status().as_u16(), &response.headers()["upgrade"]), (101, &"websocket".parse().unwrap()));
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn request_for_another_upgrade_asks_for_no_websocket() {
        assert!(!is_asked(&asked(&[(header::UPGRADE, "h2c")])));
        assert!(!is_asked(&asked(&[(header::CONNECTION, "close")])));
        let mut http2 = asked(&[]);
        *http2.version_mut() = Version::HTTP_2;
        assert!(!is_asked(&http2));
    }

    #[test]
    fn malformed_handshake_is_refused() {
        assert_eq!(refused(&[(header::SEC_WEBSOCKET_VERSION, "8")]), Some(Refused::Version));
        for key in ["", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZ"] {
            assert_eq!(refused(&[(header::SEC_WEBSOCKET_KEY, key)]), Some(Refused::Malformed), "{key}");
        }
        let mut post = asked(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(accept(&mut post, |_| true).err(), Some(Refused::Malformed));
    }

    #[test]
    fn page_of_another_origin_opens_one_only_where_it_is_allowed() {
        assert_eq!(refused(&[(header::ORIGIN, "https://shop.example")]), None);
        assert_eq!(refused(&[(header::ORIGIN, "https://server.example.com")]), None, "its own");
        for origin in ["https://evil.example", "null", "https://server.example.com:444", "server.example.com"] {
            assert_eq!(refused(&[(header::ORIGIN, origin)]), Some(Refused::Origin), "{origin}");
        }
    }

    #[test]
    fn first_subprotocol_that_is_known_says_how_answers_are_written() {
        for (offered, subprotocol) in
            [("accord.proto, accord.json", "accord.proto"), ("chat,accord.json", "accord.json")]
        {
            let mut request = asked(&[(header::SEC_WEBSOCKET_PROTOCOL, offered)]);
            let response = accept(&mut request, |_| false).ok().unwrap().response(());
            assert_eq!(response.headers()["sec-websocket-protocol"], subprotocol);
        }
        assert_eq!(refused(&[(header::SEC_WEBSOCKET_PROTOCOL, "chat")]), Some(Refused::Subprotocol));
    }

    #[test]
    fn token_among_the_subprotocols_is_the_callers_and_never_said_again() {
        let mut request = asked(&[(header::SEC_WEBSOCKET_PROTOCOL, "accord.bearer.a.b-c_d, accord.json")]);
        let response = accept(&mut request, |_| false).ok().unwrap().response(());
        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer a.b-c_d");
        assert!(request.headers()[header::AUTHORIZATION].is_sensitive());
        assert_eq!(response.headers()["sec-websocket-protocol"], "accord.json");
        let twice = "accord.bearer.a, accord.bearer.b, accord.json";
        assert_eq!(refused(&[(header::SEC_WEBSOCKET_PROTOCOL, twice)]), Some(Refused::Token));
    }
}
