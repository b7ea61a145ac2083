use super::*;

use std::path::Path;

use accord_runtime::cli::{self, accepted_extremes};

/// The configuration that the gateway is started with under these flags.
fn load(arguments: &[&str]) -> anyhow::Result<Config> {
    let all = ["accord-gateway", "serve"].into_iter().chain(arguments.iter().copied());
    Settings::<AccordGateway>::parse_from(all).unwrap().load()
}

fn upstreams(arguments: &[&str]) -> anyhow::Result<Vec<UpstreamConfig>> {
    load(arguments).map(|config| config.upstream)
}

const CATALOG: [&str; 2] = ["--upstream", "catalog=http://127.0.0.1:9000"];
const SHOP: [&str; 2] = ["--upstream", "shop=http://127.0.0.1:9100"];

#[test]
fn commands_have_examples_that_can_be_typed_and_show_as_json() {
    assert_eq!(cli::shell_habits::<AccordGateway>(), [""; 0]);
}

#[test]
fn upstream_flag_of_the_same_name_adds_an_endpoint() {
    let found = upstreams(&[&CATALOG[..], &SHOP, &["--upstream", "shop=http://127.0.0.1:9101"]].concat()).unwrap();
    let urls: Vec<_> = found.iter().map(|upstream| (upstream.name.as_str(), upstream.urls.len())).collect();
    assert_eq!(urls, [("catalog", 1), ("shop", 2)]);
}

#[test]
fn descriptor_set_without_a_name_belongs_to_the_only_upstream() {
    let found = upstreams(&[&CATALOG[..], &["--descriptors", "catalog.binpb"]].concat()).unwrap();
    assert_eq!(found[0].descriptors.as_deref(), Some(Path::new("catalog.binpb")));
}

#[test]
fn descriptor_set_must_name_one_of_several_upstreams() {
    let both = [&CATALOG[..], &SHOP].concat();
    let found = upstreams(&[&both[..], &["--descriptors", "shop=shop.binpb"]].concat()).unwrap();
    assert_eq!(found[1].descriptors.as_deref(), Some(Path::new("shop.binpb")));

    let error = upstreams(&[&both[..], &["--descriptors", "shop.binpb"]].concat()).unwrap_err().to_string();
    assert!(error.contains("write --descriptors NAME=shop.binpb, NAME being one of catalog, shop"), "{error}");

    let error = upstreams(&[&both[..], &["--descriptors", "store=shop.binpb"]].concat()).unwrap_err().to_string();
    assert!(error.contains("names the upstream store, which is not there; there is catalog, shop"), "{error}");
}

#[test]
fn descriptor_set_without_an_upstream_is_refused_with_what_is_missing() {
    for given in ["notes.binpb", "notes=notes.binpb"] {
        let error = upstreams(&["--descriptors", given]).unwrap_err().to_string();
        assert!(error.contains("there is none; add --upstream NAME=URL") && error.contains(given), "{error}");
    }
}

#[test]
fn second_descriptor_set_of_an_upstream_is_refused() {
    let twice = [&CATALOG[..], &["--descriptors", "a.binpb", "--descriptors", "b.binpb"]].concat();
    assert!(upstreams(&twice).unwrap_err().to_string().contains("catalog twice"));
}

#[test]
fn services_flag_names_the_services_of_its_upstream() {
    let both = [&CATALOG[..], &SHOP].concat();
    let flags = ["--services", "shop=shop.v1.Cart,shop.v1.Orders", "--services", "shop=shop.v1.Ads"];
    let found = upstreams(&[&both[..], &flags].concat()).unwrap();
    assert_eq!(found[0].services, Vec::<String>::new());
    assert_eq!(found[1].services, ["shop.v1.Cart", "shop.v1.Orders", "shop.v1.Ads"]);

    let error = upstreams(&[&both[..], &["--services", "shop.v1.Cart"]].concat()).unwrap_err().to_string();
    assert!(error.contains("write --services NAME=shop.v1.Cart, NAME being one of catalog, shop"), "{error}");
}

#[test]
fn upstream_flag_without_a_name_is_refused_with_an_example() {
    for wrong in ["http://127.0.0.1:9000", "=http://127.0.0.1:9000", "catalog="] {
        let error = upstreams(&["--upstream", wrong]).unwrap_err().to_string();
        assert!(error.contains("--upstream catalog=http://127.0.0.1:9000"), "{error}");
    }
}

#[test]
fn flags_override_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let text = "[listen]\naddress = \"127.0.0.1:1\"\n[cache]\nurl = \"http://127.0.0.1:3\"\n\
                [[upstream]]\nname = \"old\"\nurls = [\"http://127.0.0.1:2\"]\n";
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();

    let config = load(&[&["--config", path, "--listen", "127.0.0.1:4"], &CATALOG[..]].concat()).unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:4");
    assert_eq!(config.cache.url.as_deref(), Some("http://127.0.0.1:3"));
    assert_eq!(config.upstream[0].name, "catalog");

    let config = load(&["--config", path]).unwrap();
    assert_eq!(config.upstream[0].name, "old");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:8081");
}

#[test]
fn upstreams_of_a_second_file_are_added() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let base = write("gateway.toml", "[listen]\naddress = \"127.0.0.1:1\"\n");
    let shared = write("upstreams.toml", "[[upstream]]\nname = \"shop\"\nurls = [\"http://127.0.0.1:2\"]\n");
    let config = load(&["--config", &base, "--config", &shared]).unwrap();
    assert_eq!((config.listen.address.port(), config.upstream[0].name.as_str()), (1, "shop"));
    let twice = load(&["--config", &shared, "--config", &shared]).unwrap_err().to_string();
    assert!(twice.contains("\"shop\" is taken already"), "{twice}");
}

#[test]
fn unknown_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, "[limits]\nin_flght = 3\n").unwrap();
    let error = load(&["--config", file.to_str().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("`limits.in_flght`: there is no such key; did you mean `max_in_flight`?"), "{error}");
}

#[test]
fn internal_listener_is_absent_unless_it_has_an_address() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, "[internal]\nmax_streams = 3\n").unwrap();
    let file = file.to_str().unwrap();
    assert!(load(&["--config", file]).unwrap().internal.given().is_none());
    let internal = load(&["--config", file, "--internal", ":8082"]).unwrap().internal.given().unwrap();
    assert_eq!((internal.address.to_string(), internal.max_streams), (":8082".to_owned(), 3));
}

#[test]
fn internal_address_that_overlaps_another_is_refused() {
    for other in ["--listen", "--admin"] {
        let error = load(&[other, "127.0.0.1:4", "--internal", ":4"]).unwrap_err().to_string();
        assert!(error.contains("flag --internal: `internal.address`") && error.contains("different ports"), "{error}");
    }
}

#[test]
fn command_line_is_consistent() {
    cli::command_line::<AccordGateway>().debug_assert();
}

#[test]
fn config_is_given_before_or_after_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, "[limits]\nmax_in_flight = 3\n").unwrap();
    let file = file.to_str().unwrap();
    for arguments in [["accord-gateway", "--config", file, "check"], ["accord-gateway", "check", "--config", file]] {
        let config = Settings::<AccordGateway>::parse_from(arguments).unwrap().load().unwrap();
        assert_eq!(config.limits.max_in_flight, 3, "{arguments:?}");
    }
}

#[test]
fn section_with_one_key_set_keeps_the_default_address() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, "[listen]\nmax_streams = 5\n[admin]\nmax_streams = 5\n").unwrap();
    let config = load(&["--config", file.to_str().unwrap()]).unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:8081");
}

#[test]
fn addresses_that_overlap_are_refused() {
    let error = load(&["--listen", ":4", "--admin", "127.0.0.1:4"]).unwrap_err().to_string();
    assert!(error.contains("flag --admin: `admin.address`") && error.contains("different ports"), "{error}");
}

#[test]
fn invalid_upstream_is_refused_where_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let shop = "[[upstream]]\nname = 'shop'\nurls = ['http://a:1']\n";
    let identity = ["--client-id", "gateway", "--client-secret-file", file.to_str().unwrap()];
    for (text, place, says) in [
        (format!("{shop}{shop}"), "toml:5:8", "two upstreams are named shop"),
        (format!("{shop}[[upstream]]\nname = 'b'\n"), "toml:4:1", "b has no endpoint"),
        (shop.replace("http", "ftp"), "toml:3:9", "`upstream.0.urls.0`: \"ftp://a:1\" is not an address of a service"),
        (format!("{shop}tls = {{ ca_file = 'ca.pem' }}\n"), "toml:4:7", "no https:// endpoint"),
        (shop.replace("http", "https") + "tls = { cert_file = 'a' }\n", "toml:4:21", "belong together"),
        (
            shop.replace("http", "https") + "tls = { ca_file = 'a', workload_api = 'unix:///agent.sock' }\n",
            "toml:4:39",
            "certificates are given here and as files; leave one of them out",
        ),
        (
            format!("{shop}[listen.tls]\nworkload_api = 'unix:///agent.sock'\ncert_file = 'a'\n"),
            "toml:5:16",
            "certificates are given here and as files; leave one of them out",
        ),
        (format!("{shop}[listen.tls]\nworkload_api = '/agent.sock'\n"), "toml:5:16", "write unix:// and the path"),
        (format!("{shop}[listen.tls]\nkey_file = 'a'\n"), "toml:5:12", "belong together"),
        (format!("{shop}[listen.tls]\nclient_certificate = 'optional'\n"), "toml:4:1", "or workload_api"),
    ] {
        std::fs::write(&file, text).unwrap();
        let arguments = ["accord-gateway", "check", "--config", file.to_str().unwrap()];
        let settings = Settings::<AccordGateway>::parse_from(arguments.into_iter().chain(identity)).unwrap();
        let error = settings.usable().unwrap_err()[0].to_string();
        assert!(error.contains(place) && error.contains(says), "{place} {says}: {error}");
    }
}

/// What can't be left out.
const LEAST: &str = "[auth]\nclient_id = 'gateway'\nclient_secret = 'secret'\n\
                     [cache]\nurl = 'http://127.0.0.1:2'\n[[upstream]]\nname = 'shop'\nurls = ['http://127.0.0.1:1']\n\
                     [[upstream.version]]\nname = 'v2'\nurls = ['http://127.0.0.1:3']\n";

#[tokio::test]
async fn extreme_value_of_each_key_is_refused_with_its_place_or_served() {
    let directory = tempfile::tempdir().unwrap();
    let own = ["auth.client_id", "auth.client_secret", "auth.issuer", "auth.audience", "upstream[].name"];
    let discovery = ["discovery.zone", "discovery.kubernetes.token_file", "discovery.kubernetes.ca_file"];
    let shared_limits = [
        "username",
        "password",
        "password_file",
        "tls.ca_file",
        "tls.cert_file",
        "tls.key_file",
        "tls.workload_api",
        "key_prefix",
    ];
    let shared_limits = shared_limits.map(|key| format!("shared_limits.{key}"));
    let shared_limits: Vec<_> = shared_limits.iter().map(String::as_str).collect();
    let texts = [&own[..], &discovery, &shared_limits, &["openapi.title", "upstream[].version[].name"]].concat();
    let serve = |config: &Config| drop(Upstream::all(&config.upstream, &config.discovery).unwrap());
    let accepted = accepted_extremes::<AccordGateway>(directory.path(), LEAST, &texts, serve).unwrap();
    // Whatever else is accepted has no bound: give the new key one.
    let listeners = ["listen.proxy_protocol = true", "admin.proxy_protocol = true", "internal.proxy_protocol = true"];
    let cors = ["cors.origins = []", "cors.credentials = true", "cors.expose_headers = []"];
    let upstream = [
        "upstream[].slow_start = \"0s\"",
        "upstream[].outlier_detection.failure_percentage = 0",
        "upstream[].outlier_detection.max_ejection_percent = 0",
        "upstream[].adaptive.enabled = true",
        "upstream[].version[].weight = 0",
        "upstream[].version[].match = {}",
    ];
    let shown = [
        "reflection.enabled = true",
        "openapi.enabled = true",
        "compression.enabled = true",
        "explain.enabled = true",
        "console.enabled = true",
    ];
    let others =
        [&shown[..], &["cache.replicas = []", "discovery.dns.servers = []"], &upstream, &["contract.overlays = []"]]
            .concat();
    let expected = [&listeners[..], &["forwarding.trusted_hops = 0"], &cors[..], &others].concat();
    assert_eq!(accepted, expected);
}

#[test]
fn flag_on_both_sides_of_the_command_is_refused() {
    let parsed = Settings::<AccordGateway>::parse_from([
        "accord-gateway",
        "--config",
        "one.toml",
        "config",
        "print",
        "--config=other.toml",
    ]);
    let error = parsed.err().expect("one of the files would be lost").to_string();
    assert!(error.contains("--config stands before and after the command"), "{error}");
}

#[test]
fn flag_repeated_on_one_side_of_the_command_is_joined() {
    for arguments in [
        ["accord-gateway", "--upstream=a=http://127.0.0.1:1", "--upstream=b=http://127.0.0.1:2", "check"],
        ["accord-gateway", "check", "--upstream=a=http://127.0.0.1:1", "--upstream=b=http://127.0.0.1:2"],
    ] {
        let upstreams = Settings::<AccordGateway>::parse_from(arguments).unwrap().load().unwrap().upstream;
        assert_eq!(upstreams.len(), 2);
    }
}
