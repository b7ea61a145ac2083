//! A configuration that is refused says where and what to do.

mod environment;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use accord_runtime::{
    config::{
        ConfigError, Configuration, Invalid, Loaded, Overrides, Printed, Secret,
        bound::{Count, DAY, Time},
        keys, load_with,
    },
    server::ListenConfig,
    telemetry::TelemetryConfig,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    listen: ListenConfig,
    telemetry: TelemetryConfig,
    auth: Auth,
    names: Vec<String>,
    shops: Vec<Shop>,
    level: Level,
    #[serde(with = "Time::<1, DAY>")]
    grace: Duration,
    #[serde(with = "Count::<1, 9>")]
    lanes: u8,
    limit: Option<u32>,
    label: Option<String>,
    upstreams: std::collections::BTreeMap<String, Neighbour>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ListenConfig::local(4321),
            telemetry: TelemetryConfig::default(),
            auth: Auth::default(),
            names: Vec::new(),
            shops: Vec::new(),
            level: Level::Low,
            grace: Duration::from_secs(3),
            lanes: 2,
            limit: None,
            label: None,
            upstreams: std::collections::BTreeMap::new(),
        }
    }
}

impl Configuration for Config {
    const PREFIX: &'static str = "ACCORD_STORY";

    fn contradictions(&self) -> Vec<Invalid> {
        Vec::new()
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Neighbour {
    url: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Auth {
    client_id: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    client_secret: Secret,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Shop {
    name: String,
    url: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Low,
    High,
}

fn read(file: &str, environment: &[(&str, &str)], overrides: Overrides) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accord.toml");
    std::fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load_with(&[path], environment, overrides).map(|loaded| loaded.config)
}

fn read_files(files: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load_files(files).map(|loaded| loaded.config)
}

fn load_files(files: &[(&str, &str)]) -> Result<Loaded<Config>, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let write = |(name, text): &(&str, &str)| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let paths: Vec<_> = files.iter().map(write).collect();
    load_with(&paths, [], Overrides::default())
}

fn refused(file: &str, environment: &[(&str, &str)]) -> String {
    read(file, environment, Overrides::default()).unwrap_err().to_string()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn flags_override_the_environment_and_it_the_file() {
    let file = "names = ['file']\nlevel = 'low'\n[listen]\naddress = '127.0.0.1:1'\nmax_streams = 7\n";
    let environment = [
        ("ACCORD_STORY__LISTEN__ADDRESS", "127.0.0.1:2"),
        ("ACCORD_STORY__LEVEL", "high"),
        ("ACCORD_STORY__NAMES", "['a', 'b']"),
        ("ACCORD_STORY__LISTEN__HEADER_TIMEOUT", "3s"),
        ("ACCORD_STORY__LIMIT", "5"),
        ("ACCORD_STORY__UPSTREAMS__CATALOG__URL", "http://127.0.0.1:9000"),
        ("ACCORD_OTHER__LEVEL", "nonsense"),
    ];
    let flags = Overrides::default().set("listen.address", "--listen", "127.0.0.1:3").set_option(
        "level",
        "--level",
        None::<String>,
    );
    let config = read(file, &environment, flags).unwrap();
    assert_eq!(config.listen.address.port(), 3);
    assert_eq!(config.listen.max_streams, 7);
    assert_eq!(config.listen.header_timeout, Duration::from_secs(3));
    assert_eq!((config.level, config.limit), (Level::High, Some(5)));
    assert_eq!(config.names, ["a", "b"]);
    assert_eq!(config.upstreams["catalog"].url, "http://127.0.0.1:9000");
}

#[test]
fn later_file_overrides_earlier_key_by_key_and_replaces_lists_of_values() {
    let base = ("base.toml", "names = ['a', 'b']\nlevel = 'high'\n[listen]\nmax_streams = 7\nmax_connections = 8\n");
    let over = ("over.toml", "names = ['c']\n[listen]\nmax_streams = 9\n");
    let config = read_files(&[base, over]).unwrap();
    assert_eq!((config.listen.max_streams, config.listen.max_connections), (9, 8));
    assert_eq!((config.names, config.level), (vec!["c".to_owned()], Level::High));
}

#[test]
fn lists_of_sections_of_several_files_are_joined() {
    let shops = ("shops.toml", "[[shops]]\nname = 'north'\n[[shops]]\nname = 'south'\n");
    let further = ("further.toml", "[[shops]]\nname = 'west'\nurl = 'w'\n");
    let config = read_files(&[shops, ("base.toml", "level = 'high'\n"), further]).unwrap();
    let names: Vec<_> = config.shops.iter().map(|shop| shop.name.as_str()).collect();
    assert_eq!(names, ["north", "south", "west"]);
    assert_eq!(config.shops[2].url, "w");
}

#[test]
fn section_of_a_name_in_two_files_is_refused_with_both_places() {
    let one = ("one.toml", "[[shops]]\nname = 'north'\n");
    let other = ("other.toml", "\n[[shops]]\nurl = 'n'\nname = 'north'\n");
    let message = read_files(&[one, other]).unwrap_err().to_string();
    assert_says(
        &message,
        &["other.toml:4:8: the name \"north\" is taken already at", "one.toml:2:8", "one of the files"],
    );
}

#[test]
fn refusal_names_the_file_of_the_value() {
    let good = ("good.toml", "[listen]\nmax_streams = 7\n");
    let bad = ("bad.toml", "[listen]\nmax_streams = 'many'\n");
    assert_says(
        &read_files(&[good, bad]).unwrap_err().to_string(),
        &["bad.toml:2:15", "`listen.max_streams`", "write a whole number from 1 to 1000000"],
    );
    assert_eq!(read_files(&[bad, good]).unwrap().listen.max_streams, 7);
    let unknown = ("unknown.toml", "\nlisten = { addres = 'x' }\n");
    assert_says(&read_files(&[good, unknown]).unwrap_err().to_string(), &["unknown.toml:2:12", "`listen.addres`"]);
}

#[test]
fn variable_takes_the_type_of_its_key() {
    let digits = [("ACCORD_STORY__AUTH__CLIENT_SECRET", "123"), ("ACCORD_STORY__AUTH__CLIENT_ID", "true")];
    let config = read("", &[digits[0], digits[1], ("ACCORD_STORY__LABEL", "42")], Overrides::default()).unwrap();
    assert_eq!(config.auth.client_secret.expose(), "123");
    assert_eq!((config.auth.client_id.as_str(), config.label.as_deref()), ("true", Some("42")));
}

#[test]
fn unknown_key_is_refused_with_its_place() {
    let message = refused("level = 'low'\n\n[listen]\n  addres = '127.0.0.1:1'\n", &[]);
    assert_says(&message, &["accord.toml:4:3", "`listen.addres`: there is no such key", "`address`"]);
    let message = refused("", &[("ACCORD_STORY__LISTEN__ADDRES", "127.0.0.1:1")]);
    assert_says(
        &message,
        &["environment variable ACCORD_STORY__LISTEN__ADDRES", "`listen.addres`: there is no such key", "`address`"],
    );
}

#[test]
fn value_of_another_type_is_refused_with_its_place() {
    assert_says(
        &refused("[listen]\nmax_streams = 'many'\n", &[]),
        &["accord.toml:2:15", "`listen.max_streams`", "write a whole number from 1 to 1000000"],
    );
    assert_says(&refused("[listen]\nheader_timeout = 'soon'\n", &[]), &["accord.toml:2:18", "write a duration"]);
    assert_says(&refused("level = 'middle'\n", &[]), &["accord.toml:1:9", "`low`, `high`"]);
    assert_says(&refused("names = [1]\n", &[]), &["accord.toml:1:10", "`names.0`: this is 1; write text in quotes"]);
    let message = refused("", &[("ACCORD_STORY__LISTEN__MAX_STREAMS", "many")]);
    assert_says(
        &message,
        &[
            "environment variable ACCORD_STORY__LISTEN__MAX_STREAMS",
            "`listen.max_streams`",
            "write a whole number from 1 to 1000000",
        ],
    );
    let flag = Overrides::default().set("listen.max_streams", "--streams", "many");
    assert_says(
        &read("", &[], flag).unwrap_err().to_string(),
        &["flag --streams", "`listen.max_streams`", "write a whole number from 1 to 1000000"],
    );
}

#[test]
fn value_out_of_bounds_is_refused_with_its_place() {
    let listen = |line: &str| refused(&format!("[listen]\n{line}\n"), &[]);
    for (line, column, says) in [
        ("header_timeout = '0s'", 18, "this is the text \"0s\"; write a duration from 1ms to 1h"),
        ("max_connection_age = '500000000000years'", 22, "write a duration from 1ms to 365days"),
        ("keepalive_interval = '0ms'", 22, "write a duration from 1ms to 1days"),
        ("max_streams = 0", 15, "this is 0; write a whole number from 1 to 1000000"),
        ("max_connections = -1", 19, "this is -1; write a whole number from 1 to 1000000"),
        ("max_connections = 99999999999999999999", 19, "a number beyond all bounds; write a whole number"),
    ] {
        let key = line.split(' ').next().unwrap();
        assert_says(&listen(line), &[&format!("accord.toml:2:{column}: `listen.{key}`: this is "), says]);
    }
    let log = |level: &str| refused(&format!("[telemetry.log]\nlevel = '{level}'\n"), &[]);
    assert_says(&log("inof"), &["accord.toml:2:9", "`inof` is none of off, error, warn"]);
    assert_says(&log("info,h2=loud"), &["accord.toml:2:9"]);
    let collector = refused("[telemetry.otlp]\nendpoint = 'collector:4317'\n", &[]);
    assert_says(&collector, &["accord.toml:2:12", "looks like http://127.0.0.1:4317"]);
    let ratio = refused("[telemetry.otlp]\nsample_ratio = 7\n", &[]);
    assert_says(&ratio, &["accord.toml:2:16", "from 0 to 1"]);
}

#[test]
fn remedy_is_written_as_the_file_would_have_it() {
    assert_says(&refused("listen = 5\n", &[]), &["accord.toml:1:10", "`listen`: this is 5; write a section"]);
    assert_says(&refused("[listen]\nheader_timeout = '10'\n", &[]), &["accord.toml:2:18", "such as 30s"]);
}

#[test]
fn text_in_place_of_a_section_or_list_is_refused_without_repeating_it() {
    for file in ["auth = 'postgres://u:hunter2@h/d'\n", "names = 'hunter2'\n"] {
        let message = refused(file, &[]);
        assert_says(&message, &["accord.toml:1:", "this is text; write a "]);
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = refused("", &[("ACCORD_STORY__AUTH", "postgres://u:hunter2@h/d")]);
    assert_says(&message, &["variable ACCORD_STORY__AUTH", "this is text; write a section"]);
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn file_that_cannot_be_read_is_refused_with_both_ways_to_name_it() {
    let error = load_with::<Config>(&["nowhere/accord.toml".into()], [], Overrides::default()).unwrap_err();
    assert_says(&error.to_string(), &["nowhere/accord.toml", "--config or in the variable ACCORD_STORY_CONFIG"]);
}

#[test]
fn file_that_is_not_utf8_is_refused_at_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accord.toml");
    std::fs::write(&path, b"lanes = 1\nlabel = '\xff'\n").unwrap();
    let error = load_with::<Config>(&[path], [], Overrides::default()).unwrap_err();
    assert_says(&error.to_string(), &["accord.toml:2:10: this is not UTF-8; write the file in UTF-8"]);
}

#[test]
fn variable_name_deeper_than_any_key_is_refused() {
    let name = format!("ACCORD_STORY{}", "__A".repeat(30_000));
    let message = refused("", &[(&name, "1")]);
    assert_says(&message, &["environment variable ACCORD_STORY__", "write it like ACCORD_STORY__SECTION__KEY"]);
    assert!(message.len() < 300);
}

#[test]
fn printed_configuration_is_no_source_of_secrets() {
    let message = refused("[auth]\nclient_secret = '***'\n", &[]);
    assert_says(&message, &["accord.toml:2:", "`auth.client_secret`", "write the secret itself"]);
}

#[test]
fn section_given_whole_and_key_by_key_is_refused() {
    let whole = ("ACCORD_STORY__LISTEN", "{ max_streams = 7 }");
    let key = ("ACCORD_STORY__LISTEN__MAX_STREAMS", "8");
    assert_eq!(read("", &[whole], Overrides::default()).unwrap().listen.max_streams, 7);
    for environment in [[whole, key], [key, whole]] {
        assert_says(&refused("", &environment), &["variable ACCORD_STORY__LISTEN__MAX_STREAMS", "give the section in"]);
    }
}

#[test]
fn broken_toml_is_refused_where_it_breaks() {
    assert_says(&refused("level = 'low'\nnames = [\n", &[]), &["accord.toml:", "correct the TOML there"]);
    let error = load_with::<Config>(&[PathBuf::from("nowhere.toml")], [], Overrides::default()).unwrap_err();
    assert_says(&error.to_string(), &["nowhere.toml", "--config"]);
}

#[test]
fn secret_is_never_printed() {
    let config = read("[auth]\nclient_secret = 'hunter2'\n", &[], Overrides::default()).unwrap();
    assert_eq!(config.auth.client_secret.expose(), "hunter2");
    let shown = format!("{}{config:?}", Printed(&config));
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    let message = refused("[auth]\nclient_secret = 424242\n", &[]);
    assert_says(&message, &["accord.toml:2:17", "text in quotes"]);
    assert!(!message.contains("424242"), "{message}");
    // A broken line is not repeated either.
    let message = refused("[auth]\nclient_secret = 'hunter2\n", &[]);
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn printed_configuration_can_be_read_again() {
    let text = Printed(read("[listen]\nmax_streams = 7\n", &[], Overrides::default()).unwrap()).to_string();
    assert_eq!(read(&text, &[], Overrides::default()).unwrap().listen.max_streams, 7);
}

#[test]
fn section_with_one_key_set_keeps_the_defaults_of_its_binary() {
    let from_file = read("[listen]\nmax_streams = 7\n", &[], Overrides::default()).unwrap();
    let variable = [("ACCORD_STORY__LISTEN", "{ max_streams = 7 }")];
    let from_environment = read("", &variable, Overrides::default()).unwrap();
    for config in [from_file, from_environment] {
        assert_eq!((config.listen.address.to_string().as_str(), config.listen.max_streams), ("127.0.0.1:4321", 7));
    }
}

#[test]
fn later_file_with_an_empty_list_empties_it() {
    let shops = ("shops.toml", "[[shops]]\nname = 'north'\n");
    assert_eq!(read_files(&[shops, ("none.toml", "shops = []\n")]).unwrap().shops.len(), 0);
}

#[test]
fn key_that_is_nearly_another_suggests_it() {
    assert_says(
        &refused("[[shops]]\nurls = 'x'\n", &[]),
        &["accord.toml:2:1", "`shops.0.urls`", "did you mean `url`?"],
    );
    assert_says(&refused("[lisen]\n", &[]), &["accord.toml:1:2", "did you mean `listen`?"]);
    assert_says(&refused("level = 'hgih'\n", &[]), &["accord.toml:1:9", "did you mean `high`?"]);
}

#[test]
fn keys_are_those_of_every_section_and_of_those_that_are_absent() {
    let keys: Vec<_> = keys::<Config>().iter().map(ToString::to_string).collect();
    for key in ["listen.address", "listen.tls.cert_file", "shops[].name", "limit", "telemetry.otlp.endpoint", "lanes"] {
        assert!(keys.iter().any(|known| known == key), "{key} is not in {keys:?}");
    }
}

#[test]
fn invalid_value_is_refused_where_it_was_given_or_at_its_section() {
    let shops = ("shops.toml", "[[shops]]\nname = 'north'\n\n[[shops]]\nname = 'south'\n");
    let loaded = load_files(&[shops]).unwrap();
    let refuse = |key: &str| loaded.refuse(Invalid::new(key, "it is wrong", "mend it")).to_string();
    assert_says(&refuse("shops.1.name"), &["shops.toml:5:8: `shops.1.name`: it is wrong; mend it"]);
    assert_says(&refuse("shops.1.url"), &["shops.toml:4:"]);
    assert_says(&refuse("listen.address"), &["configuration: `listen.address`"]);
}
