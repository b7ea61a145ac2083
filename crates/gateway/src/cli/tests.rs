use super::*;

fn flags(arguments: &[&str]) -> Flags {
    let all = ["accord-gateway", "serve"].iter().chain(arguments);
    match Cli::try_parse_from(all).unwrap().command {
        Command::Serve(flags) => flags,
        other => panic!("{other:?}"),
    }
}

fn upstreams(arguments: &[&str]) -> Result<Vec<UpstreamConfig>, FlagError> {
    flags(arguments).upstreams(Vec::new())
}

const CATALOG: [&str; 2] = ["--upstream", "catalog=http://127.0.0.1:9000"];
const SHOP: [&str; 2] = ["--upstream", "shop=http://127.0.0.1:9100"];

#[test]
fn the_same_name_again_is_another_endpoint() {
    let found = upstreams(&[&CATALOG[..], &SHOP, &["--upstream", "shop=http://127.0.0.1:9101"]].concat()).unwrap();
    let urls: Vec<_> = found.iter().map(|upstream| (upstream.name.as_str(), upstream.urls.len())).collect();
    assert_eq!(urls, [("catalog", 1), ("shop", 2)]);
}

#[test]
fn a_descriptor_set_belongs_to_the_only_upstream() {
    let found = upstreams(&[&CATALOG[..], &["--descriptors", "catalog.binpb"]].concat()).unwrap();
    assert_eq!(found[0].descriptors.as_deref(), Some(Path::new("catalog.binpb")));
}

#[test]
fn with_several_upstreams_a_descriptor_set_says_whose_it_is() {
    let both = [&CATALOG[..], &SHOP].concat();
    let found = upstreams(&[&both[..], &["--descriptors", "shop=shop.binpb"]].concat()).unwrap();
    assert_eq!(found[1].descriptors.as_deref(), Some(Path::new("shop.binpb")));

    let error = upstreams(&[&both[..], &["--descriptors", "shop.binpb"]].concat()).unwrap_err().to_string();
    assert!(error.contains("write --descriptors NAME=shop.binpb, NAME being one of catalog, shop"), "{error}");

    let error = upstreams(&[&both[..], &["--descriptors", "store=shop.binpb"]].concat()).unwrap_err().to_string();
    assert!(error.contains("names the upstream store, which is not there; there is catalog, shop"), "{error}");
}

#[test]
fn one_upstream_has_one_descriptor_set() {
    let twice = [&CATALOG[..], &["--descriptors", "a.binpb", "--descriptors", "b.binpb"]].concat();
    assert!(upstreams(&twice).unwrap_err().to_string().contains("catalog twice"));
}

#[test]
fn an_upstream_without_a_name_is_refused_with_an_example() {
    for wrong in ["http://127.0.0.1:9000", "=http://127.0.0.1:9000", "catalog="] {
        let error = upstreams(&["--upstream", wrong]).unwrap_err().to_string();
        assert!(error.contains("--upstream catalog=http://127.0.0.1:9000"), "{error}");
    }
}

#[test]
fn flags_win_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let text = "[listen]\naddress = \"127.0.0.1:1\"\n[cache]\nurl = \"http://127.0.0.1:3\"\n\
                [[upstream]]\nname = \"old\"\nurls = [\"http://127.0.0.1:2\"]\n";
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();

    let config = flags(&[&["--config", path, "--listen", "127.0.0.1:4"], &CATALOG[..]].concat()).load().unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:4");
    assert_eq!(config.cache.url.as_deref(), Some("http://127.0.0.1:3"));
    assert_eq!(config.upstream[0].name, "catalog");

    let config = flags(&["--config", path]).load().unwrap();
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
    let config = flags(&["--config", &base, "--config", &shared]).load().unwrap();
    assert_eq!((config.listen.address.port(), config.upstream[0].name.as_str()), (1, "shop"));
    let twice = flags(&["--config", &shared, "--config", &shared]).load().unwrap_err().to_string();
    assert!(twice.contains("\"shop\" is taken already"), "{twice}");
}

#[test]
fn a_key_that_does_not_exist_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, "[limits]\nin_flght = 3\n").unwrap();
    let error = flags(&["--config", file.to_str().unwrap()]).load().unwrap_err().to_string();
    assert!(error.contains("in_flght"), "{error}");
}

#[test]
fn the_command_line_is_consistent() {
    <Cli as clap::CommandFactory>::command().debug_assert();
}
