//! Routes: precedence, verbs, values, and paths that could be read in two ways.

use accord_transcode::{NoMatch, RouteError, Routes};
use http::Method;

const TABLE: [(&str, &str); 18] = [
    ("GET", "/v1/products"),
    ("POST", "/v1/products"),
    ("GET", "/v1/products/{id}"),
    ("DELETE", "/v1/products/{id}"),
    ("GET", "/v1/products/special"),
    ("GET", "/v1/products/special/{x}/end"),
    ("GET", "/v1/products/*/{y}/{z}"),
    ("POST", "/v1/products/{id}:archive"),
    ("POST", "/v1/products:import"),
    ("GET", "/v1/{name=shelves/*/books/*}"),
    ("GET", "/v1/{path=**}"),
    ("GET", "/files/{path=**}:read"),
    ("GET", "/files/{path=dir/**}"),
    ("*", "/any/{id}"),
    ("PUT", "/any/{id}"),
    ("GET", "/any/one"),
    ("GET", "/head/{id}"),
    ("HEAD", "/head/{id}"),
];

fn routes() -> Routes<String> {
    let parsed: Vec<_> = TABLE.iter().map(|(method, template)| (*method, template.parse().unwrap())).collect();
    Routes::build(parsed.iter().map(|(method, template)| (*method, template, format!("{method} {template}")))).unwrap()
}

#[track_caller]
fn leads(method: &str, path: &str, route: &str, variables: &[&str]) {
    let routes = routes();
    let found = routes.find(&method.parse().unwrap(), path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(
        (found.value.as_str(), &found.variables[..]),
        (route, &variables.iter().map(|value| (*value).into()).collect::<Vec<_>>()[..])
    );
}

#[test]
fn route_prefers_literals_then_one_segment_then_many() {
    leads("GET", "/v1/products", "GET /v1/products", &[]);
    leads("GET", "/v1/products/7", "GET /v1/products/{id}", &["7"]);
    leads("GET", "/v1/products/special", "GET /v1/products/special", &[]);
    leads("GET", "/v1/products/special/a/end", "GET /v1/products/special/{x}/end", &["a"]);
    leads("GET", "/v1/products/special/a/b", "GET /v1/products/*/{y}/{z}", &["a", "b"]);
    leads("GET", "/v1/shelves/1/books/2", "GET /v1/{name=shelves/*/books/*}", &["shelves/1/books/2"]);
    leads("GET", "/v1/shelves/1", "GET /v1/{path=**}", &["shelves/1"]);
    leads("GET", "/v1", "GET /v1/{path=**}", &[""]);
    leads("GET", "/files/dir", "GET /files/{path=dir/**}", &["dir"]);
    leads("DELETE", "/v1/products/special", "DELETE /v1/products/{id}", &["special"]);
}

#[test]
fn colon_begins_a_verb_only_where_one_is_declared() {
    leads("POST", "/v1/products/7:archive", "POST /v1/products/{id}:archive", &["7"]);
    leads("POST", "/v1/products:import", "POST /v1/products:import", &[]);
    leads("GET", "/v1/products/a:b", "GET /v1/products/{id}", &["a:b"]);
    leads("GET", "/v1/products/7:archive", "GET /v1/products/{id}", &["7:archive"]);
    leads("GET", "/files/a/b:read", "GET /files/{path=**}:read", &["a/b"]);
    leads("POST", "/v1/products/a:b:archive", "POST /v1/products/{id}:archive", &["a:b"]);
}

#[test]
fn route_of_any_http_method_stands_behind_a_named_one() {
    leads("PUT", "/any/1", "PUT /any/{id}", &["1"]);
    leads("PATCH", "/any/1", "* /any/{id}", &["1"]);
}

#[test]
fn head_takes_the_route_of_get_unless_it_has_its_own() {
    leads("HEAD", "/v1/products/7", "GET /v1/products/{id}", &["7"]);
    leads("HEAD", "/any/one", "GET /any/one", &[]);
    leads("HEAD", "/head/1", "HEAD /head/{id}", &["1"]);
    leads("GET", "/head/1", "GET /head/{id}", &["1"]);
}

#[test]
fn path_variable_is_decoded_and_keeps_its_segments() {
    leads("GET", "/v1/products/a%20b%2Fc+%C3%A9", "GET /v1/products/{id}", &["a b/c+é"]);
    leads("GET", "/v1/x/a%20b%2Fc/d%2fe", "GET /v1/{path=**}", &["x/a b%2Fc/d%2fe"]);
    leads("GET", "/v1/shelves/a%2Fb/books/c%41", "GET /v1/{name=shelves/*/books/*}", &["shelves/a%2Fb/books/cA"]);
}

#[test]
fn ambiguous_path_is_refused() {
    let routes = routes();
    for path in [
        "",
        "v1/products",
        "*",
        "//v1/products",
        "/v1//products",
        "/v1/products/",
        "/v1/./products",
        "/v1/../v1/products",
        "/v1/%2e%2e/products",
        "/v1/products/..",
        "/v1/products/.%2E",
        "/v1/products/a%2f..%2fb",
        "/v1/products/..%5cx",
        "/v1/products/a\\b",
        "/v1/products/%",
        "/v1/products/%2",
        "/v1/products/%zz",
        "/v1/products/%00",
        "/v1/products/a%0d%0ab",
        "/v1/products/%7f",
        "/v1/products/a b",
        "/v1/products/\u{1}",
        "/v1/products/é",
        "/v1/products/%ff",
        "/v1/products?x",
        "/v1/products#x",
    ] {
        let refused = routes.find(&Method::GET, path);
        assert!(matches!(refused, Err(NoMatch::NotCanonical(_))), "{path}: {refused:?}");
    }
}

#[test]
fn wrong_http_method_is_told_from_a_wrong_path() {
    let routes = routes();
    let allowed = |path: &str| match routes.find(&Method::PUT, path) {
        Err(NoMatch::MethodNotAllowed { allowed }) => allowed,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(allowed("/v1/products"), [Method::GET, Method::HEAD, Method::POST]);
    assert_eq!(allowed("/v1/products/7"), [Method::DELETE, Method::GET, Method::HEAD]);
    assert_eq!(allowed("/v1/products/7:archive"), [Method::DELETE, Method::GET, Method::HEAD, Method::POST]);
    assert!(routes.find(&Method::HEAD, "/v1/products").is_ok());
    assert_eq!(routes.find(&Method::GET, "/v2").unwrap_err(), NoMatch::NotFound);
    assert_eq!(routes.find(&Method::GET, "/").unwrap_err(), NoMatch::NotFound);
    // An escaped literal is another path, not a second spelling of the same one.
    assert_eq!(routes.find(&Method::GET, "/f%69les/dir/x").unwrap_err(), NoMatch::NotFound);
}

#[test]
fn route_declared_twice_is_refused() {
    let (first, second) = ("/v1/{a}".parse().unwrap(), "/v1/{b=*}".parse().unwrap());
    let twice = Routes::build([("GET", &first, 1), ("GET", &second, 2)]);
    assert_eq!(twice.unwrap_err(), RouteError::Twice { method: "GET".into(), template: "/v1/{b}".into() });
    assert!(Routes::build([("GET", &first, 1), ("POST", &second, 2)]).is_ok());
}

#[test]
fn segments_behind_a_double_asterisk_are_matched_from_the_end() {
    let templates = [
        "/v1/{parent=projects/*/documents/**}/{collection_id}",
        "/v1/{name=projects/*/documents/**}/{id}/versions",
        "/v1/files/**",
    ];
    let templates = templates.map(|text| text.parse::<accord_contract::http::PathTemplate>().unwrap());
    let routes = Routes::build(templates.iter().enumerate().map(|(index, template)| ("GET", template, index))).unwrap();
    let found = |path: &'static str| {
        routes.find(&Method::GET, path).map(|found| (*found.value, found.variables.join(" "))).map_err(|_| path)
    };
    assert_eq!(found("/v1/projects/p/documents/a/b/c"), Ok((0, "projects/p/documents/a/b c".to_owned())));
    assert_eq!(found("/v1/projects/p/documents/c%2Fd"), Ok((0, "projects/p/documents c/d".to_owned())));
    assert_eq!(found("/v1/projects/p/documents/a/b/versions"), Ok((1, "projects/p/documents/a b".to_owned())));
    assert_eq!(found("/v1/projects/p/documents"), Err("/v1/projects/p/documents"));
    assert_eq!(found("/v1/files"), Ok((2, String::new())));
}
