//! The page: files that are part of the binary, and the headers under which a browser is to take it.

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tonic::body::Body;

/// Where the page is.
pub(super) const PAGE: &str = "/console/";

const TYPE_HTML: &str = "text/html; charset=utf-8";
const TYPE_SCRIPT: &str = "text/javascript; charset=utf-8";
const TYPE_STYLE: &str = "text/css; charset=utf-8";
const TYPE_PICTURE: &str = "image/svg+xml";

/// Each file by its name under `/console/`.
const FILES: [(&str, &str, &str); 17] = [
    ("", TYPE_HTML, include_str!("page/index.html")),
    ("console.css", TYPE_STYLE, include_str!("page/console.css")),
    ("views.css", TYPE_STYLE, include_str!("page/views.css")),
    ("icon.svg", TYPE_PICTURE, include_str!("page/icon.svg")),
    ("main.js", TYPE_SCRIPT, include_str!("page/main.js")),
    ("api.js", TYPE_SCRIPT, include_str!("page/api.js")),
    ("dom.js", TYPE_SCRIPT, include_str!("page/dom.js")),
    ("figures.js", TYPE_SCRIPT, include_str!("page/figures.js")),
    ("live.js", TYPE_SCRIPT, include_str!("page/live.js")),
    ("map.js", TYPE_SCRIPT, include_str!("page/map.js")),
    ("calls.js", TYPE_SCRIPT, include_str!("page/calls.js")),
    ("methods.js", TYPE_SCRIPT, include_str!("page/methods.js")),
    ("steps.js", TYPE_SCRIPT, include_str!("page/steps.js")),
    ("try.js", TYPE_SCRIPT, include_str!("page/try.js")),
    ("access.js", TYPE_SCRIPT, include_str!("page/access.js")),
    ("audit.js", TYPE_SCRIPT, include_str!("page/audit.js")),
    ("credentials.js", TYPE_SCRIPT, include_str!("page/credentials.js")),
];

/// Nothing but this page's own files, no script or style within it, no frame around it, and no form that goes elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// What holds for all answers of the console. What is shown is kept nowhere.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A file of the page.
pub(super) fn answer(method: &Method, path: &str) -> Response<Body> {
    let Some(name) = path.strip_prefix(PAGE) else {
        // Relative names in the page need the slash.
        let mut response = plain(StatusCode::PERMANENT_REDIRECT, "");
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(PAGE));
        return response;
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "the console's files are read with GET\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some((_, content_type, text)) = FILES.into_iter().find(|(known, ..)| *known == name) else {
        return plain(StatusCode::NOT_FOUND, "the console has no such file\n");
    };
    let mut response = Response::new(if *method == Method::HEAD { Body::empty() } else { Body::new(text.to_owned()) });
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer that is no more than a status and a line.
fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The same answer under the headers of all of them.
pub(super) fn secured(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_file_of_the_page_is_served_and_no_other() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/page");
        let names = fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let written: BTreeSet<_> = names.map(|name| if name == "index.html" { String::new() } else { name }).collect();
        assert_eq!(FILES.map(|(name, ..)| name.to_owned()).into_iter().collect::<BTreeSet<_>>(), written);
        for (name, content_type, _) in FILES {
            let response = answer(&Method::GET, &format!("{PAGE}{name}"));
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], content_type, "{name}");
        }
        for unknown in ["main.ts", "../console.rs", "page/main.js", "main.js/"] {
            assert_eq!(answer(&Method::GET, &format!("{PAGE}{unknown}")).status(), StatusCode::NOT_FOUND, "{unknown}");
        }
    }

    /// A page that is shown only what its scripts put there can't be made to run what they are told.
    #[test]
    fn page_has_no_script_or_style_within_it_and_asks_nobody_else() {
        for (name, _, text) in FILES {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "localStorage",
                "sessionStorage",
                "document.cookie",
                "indexedDB",
                "https://",
                "style=\"",
                "onclick=\"",
                "<style",
            ] {
                assert!(!text.contains(forbidden), "{name}: {forbidden}");
            }
            let elsewhere = text.matches("http://").count() - text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(elsewhere, 0, "{name}");
        }
    }
}
