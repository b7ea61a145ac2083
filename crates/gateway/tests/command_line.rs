//! The command line of the built binary, as a pipeline or a stranger meets it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(files.descriptors(), accord_api::FILE_DESCRIPTOR_SET).unwrap();
        files
    }

    fn descriptors(&self) -> PathBuf {
        self.directory.path().join("catalog.binpb")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn gateway(&self, command: &[&str], overlay: Option<&Path>) -> Output {
        let mut gateway = accord_gateway(command);
        gateway.args(["--upstream", "catalog=http://127.0.0.1:1", "--descriptors"]).arg(self.descriptors());
        if let Some(overlay) = overlay {
            gateway.arg("--overlay").arg(overlay);
        }
        gateway.output().unwrap()
    }
}

fn accord_gateway(command: &[&str]) -> Command {
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_accord-gateway"));
    gateway.args(command).env_clear();
    gateway
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_of_an_enforceable_contract_passes() {
    let checked = Files::new().gateway(&["contract", "check"], None);
    assert_eq!(checked.status.code(), Some(0), "{}{}", stdout(&checked), stderr(&checked));
    assert!(stdout(&checked).contains("can be enforced: methods: "));
}

#[test]
fn check_warns_of_a_contract_that_needs_a_cache_while_there_is_none() {
    let files = Files::new();
    let checked = files.gateway(&["contract", "check"], None);
    let text = stdout(&checked);
    assert_eq!(checked.status.code(), Some(0), "{text}");
    let warnings: Vec<_> = text.lines().filter(|line| line.starts_with("warning: `cache.url`")).collect();
    assert_eq!(warnings.len(), 1, "{text}");
    let strict = files.gateway(&["contract", "check", "--strict"], None);
    assert_eq!(strict.status.code(), Some(1));
    assert!(stdout(&strict).contains("error: `cache.url`"), "{}", stdout(&strict));
    assert!(warnings[0].contains(" (`cache`)") && warnings[0].contains("or --cache"), "{text}");

    let checked = files.gateway(&["contract", "check", "--cache", "http://127.0.0.1:1"], None);
    assert!(!stdout(&checked).contains("`cache.url`"), "{}", stdout(&checked));
}

#[test]
fn check_with_errors_fails_with_a_line_for_each_finding() {
    let files = Files::new();
    let overlay = files.write(
        "overlay.toml",
        "[[rule]]\nselector = \"catalog.v1.ProductService/GetProduct\"\n\
         policy = { deadline = { default = \"1h\", max = \"1s\" } }\n\
         [[rule]]\nselector = \"catalog.v1.ProductService/CreateProduct\"\n\
         policy = { cache = { ttl = \"1s\" } }\n",
    );
    let checked = files.gateway(&["contract", "check"], Some(&overlay));
    assert_eq!(checked.status.code(), Some(1));
    let findings = stdout(&checked);
    let errors: Vec<_> = findings.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.iter().any(|line| line.contains("GetProduct") && line.contains("deadline")), "{findings}");
    assert!(errors.iter().any(|line| line.contains("CreateProduct") && line.contains("cache")), "{findings}");
    assert_eq!(stderr(&checked), "");
}

#[test]
fn check_says_that_an_unreachable_upstream_is_unchecked() {
    let checked = accord_gateway(&["contract", "check", "--upstream", "shop=http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(1), "what was not looked at is not good");
    let findings = stdout(&checked);
    assert!(findings.starts_with("error: upstream shop: not checked"), "{findings}");
    assert!(findings.contains("nothing listens at its address: Connection refused"), "why: {findings}");
    let remedy = "start it, or correct the port in its URL, or give its descriptor set with `--descriptors";
    assert!(findings.contains(remedy), "what to do: {findings}");
}

#[test]
fn reflection_of_a_server_that_speaks_no_tls_is_answered_with_the_scheme_to_write() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("shop=https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // The first frame of HTTP/2, as every server sends it unasked.
        while let Ok((mut socket, _)) = listener.accept() {
            std::io::Write::write_all(&mut socket, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap_or_default();
        }
    });
    let findings = stdout(&accord_gateway(&["contract", "check", "--upstream", &url]).output().unwrap());
    assert!(findings.contains("called with TLS and does not speak it"), "{findings}");
    assert!(findings.contains("write the scheme without TLS in its URL (http://"), "{findings}");
}

#[test]
fn upstream_whose_name_is_not_resolved_is_told_apart_from_a_silent_one() {
    // RFC 6761: no resolver knows a name under `invalid`.
    let command = ["contract", "check", "--upstream", "shop=http://shop.invalid:9000"];
    let findings = stdout(&accord_gateway(&command).output().unwrap());
    assert!(findings.contains("its name is not resolved to an address; correct the name in its URL"), "{findings}");
}

#[test]
fn contract_check_in_json_is_one_object() {
    let checked = Files::new().gateway(&["contract", "check", "--output", "json"], None);
    let written = stdout(&checked);
    assert!(
        checked.status.success() && written.starts_with("{\"good\":true,") && written.ends_with("}\n"),
        "{written}"
    );
}

#[test]
fn check_without_upstreams_fails() {
    let checked = accord_gateway(&["contract", "check"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(1));
    assert!(stdout(&checked).contains("--upstream NAME=URL"), "{}", stdout(&checked));
}

#[test]
fn check_of_an_address_that_serve_would_refuse_fails() {
    for (flag, url) in [("--auth", "127.0.0.1:8090"), ("--cache", "ftp://127.0.0.1:8100")] {
        let checked = Files::new().gateway(&["check", flag, url], None);
        assert_eq!(checked.status.code(), Some(1), "{flag}");
        let (findings, section) = (stdout(&checked), flag.trim_start_matches('-'));
        assert!(findings.contains(&format!("flag {flag}: `{section}.url`")) && findings.contains(url), "{findings}");
    }
}

#[test]
fn check_prints_errors_after_warnings() {
    let files = Files::new();
    let broken = "[[rule]]\nselector = \"catalog.v1.*\"\npolicy = { deadline = { default = \"-1s\" } }\n";
    let overlay = files.write("overlay.toml", broken);
    let mut checked =
        accord_gateway(&["contract", "check", "--upstream", "catalog=http://127.0.0.1:1", "--descriptors"]);
    let findings = stdout(&checked.arg(files.descriptors()).arg("--overlay").arg(overlay).output().unwrap());
    let is_error: Vec<_> = findings.lines().map(|line| line.starts_with("error: ")).collect();
    assert!(is_error.is_sorted() && is_error.ends_with(&[true]), "{findings}");
}

#[test]
fn explain_shows_where_each_field_comes_from() {
    let files = Files::new();
    let overlay = files
        .write("overlay.toml", "[[rule]]\nselector = \"catalog.v1.*\"\npolicy = { deadline = { default = \"1s\" } }\n");
    let explained = files.gateway(&["explain", "catalog.v1.ProductService/GetProduct"], Some(&overlay));
    assert_eq!(explained.status.code(), Some(0), "{}", stderr(&explained));
    let text = stdout(&explained);
    let line = |field: &str| text.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("deadline.default ").contains("overlay "), "{text}");
    assert!(line("deadline.max ").contains("file catalog/v1/product_service.proto"), "{text}");
    assert!(line("http ").ends_with("GET /v1/products/{id}"), "{text}");
}

#[test]
fn explain_of_an_unknown_method_fails_with_a_suggestion() {
    let explained = Files::new().gateway(&["explain", "catalog.v1.ProductService/FetchProduct"], None);
    assert_eq!(explained.status.code(), Some(1));
    assert!(stderr(&explained).contains("such as catalog.v1.ProductService/"), "{}", stderr(&explained));
}

#[test]
fn explain_without_an_upstream_says_so() {
    let explained = accord_gateway(&["explain", "catalog.v1.ProductService/GetProduct"]).output().unwrap();
    assert_eq!(explained.status.code(), Some(1));
    assert!(stderr(&explained).contains("error: there is no upstream"), "{}", stderr(&explained));
    assert!(!stderr(&explained).contains("no method is named"), "{}", stderr(&explained));
}

#[test]
fn config_print_hides_secrets() {
    let mut gateway = accord_gateway(&["config", "print", "--listen", "127.0.0.1:4000"]);
    let printed = gateway.env("ACCORD_GATEWAY__AUTH__CLIENT_SECRET", "hunter2").output().unwrap();
    assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
    let text = stdout(&printed);
    assert!(text.contains("address = \"127.0.0.1:4000\""), "{text}");
    assert!(text.contains("client_secret = \"***\"") && !text.contains("hunter2"), "{text}");
}

#[test]
fn help_shows_how_to_begin() {
    let help = stdout(&accord_gateway(&["--help"]).output().unwrap()).replace("\\\n", "");
    let examples: Vec<_> = help.lines().filter(|line| line.trim_start().starts_with("accord-gateway serve ")).collect();
    assert!(examples.len() > 1, "{help}");
    for example in examples {
        let identity = example.contains(" --client-id ") && example.contains(" --client-secret-file ");
        assert!(identity || example.contains(" --config "), "would be refused as it stands: {example}");
        assert!(example.contains(" --upstream "), "would serve nothing: {example}");
    }
}

#[test]
fn unknown_flag_is_refused_with_a_remedy() {
    let refused = accord_gateway(&["check", "--upstream", "http://127.0.0.1:9000"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stdout(&refused).contains("--upstream catalog=http://127.0.0.1:9000"), "{}", stdout(&refused));
}

#[test]
fn check_without_an_identity_fails_as_serve_does() {
    let files = Files::new();
    let (checked, served) = (files.gateway(&["check"], None), files.gateway(&["serve"], None));
    let words = "`auth.client_id`: this binary has no name to log in with; set `auth.client_id`";
    assert_eq!((checked.status.code(), served.status.code()), (Some(1), Some(78)));
    assert!(stdout(&checked).contains(words) && !stdout(&checked).contains("can be enforced"), "{}", stdout(&checked));
    assert!(stderr(&served).contains(words), "{}", stderr(&served));
}

#[test]
fn check_whose_secret_cannot_be_read_fails() {
    let identity = ["check", "--client-id", "gateway", "--client-secret-file", "nowhere.secret"];
    let checked = Files::new().gateway(&identity, None);
    assert_eq!(checked.status.code(), Some(1));
    let findings = stdout(&checked);
    assert!(findings.contains("flag --client-secret-file: `auth.client_secret_file`"), "{findings}");
}

#[test]
fn check_in_json_is_one_object() {
    let files = Files::new();
    let secret = files.write("gateway.secret", "a secret");
    let identity = ["check", "--output", "json", "--client-id", "gateway", "--client-secret-file"];
    let checked = files.gateway(&[&identity[..], &[secret.to_str().unwrap()]].concat(), None);
    let report: serde_json::Value = serde_json::from_str(&stdout(&checked)).unwrap();
    assert_eq!(report["good"], true, "{report}");
    assert!(report["summary"].as_str().unwrap().starts_with("can be enforced: methods: "), "{report}");
}

#[test]
fn completions_name_the_commands() {
    let completions = accord_gateway(&["completions", "bash"]).output().unwrap();
    assert!(stdout(&completions).contains("explain"), "{}", stderr(&completions));
}

#[test]
fn explain_in_json_has_each_field_with_its_layer() {
    let words = ["explain", "catalog.v1.ProductService/GetProduct", "--output", "json"];
    let explained: serde_json::Value = serde_json::from_str(&stdout(&Files::new().gateway(&words, None))).unwrap();
    assert_eq!(explained["http"], serde_json::json!(["GET /v1/products/{id}"]));
    let field = explained["fields"].as_array().unwrap().iter().find(|it| it["field"] == "cache.ttl").unwrap();
    assert_eq!(field["value"], "30s");
    assert!(field["source"].as_str().unwrap().starts_with("method "), "{field}");
}

#[test]
fn configuration_in_json_is_that_which_is_printed_without_secrets() {
    let words = ["config", "print", "--output", "json", "--listen", "127.0.0.1:1"];
    let printed = accord_gateway(&words).env("ACCORD_GATEWAY__AUTH__CLIENT_SECRET", "very secret").output().unwrap();
    let config: serde_json::Value = serde_json::from_str(&stdout(&printed)).unwrap();
    assert_eq!(
        (&config["listen"]["address"], &config["auth"]["client_secret"]),
        (&"127.0.0.1:1".into(), &"***".into())
    );
}

#[test]
fn explain_takes_the_path_of_a_method() {
    let explained = Files::new().gateway(&["explain", "/catalog.v1.ProductService/GetProduct"], None);
    assert_eq!(explained.status.code(), Some(0), "{}", stderr(&explained));
}

/// The exit status of a command whose standard output is this, and what it says on standard error.
fn with_stdout(command: &[&str], stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let run = accord_gateway(command).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let output = run.wait_with_output().unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn command_whose_reader_has_gone_ends_without_a_word() {
    for command in [&["config", "print"][..], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(with_stdout(command, writer), (Some(0), String::new()), "{command:?}");
    }
}

#[test]
fn command_that_cannot_write_its_output_says_so_in_one_sentence() {
    for command in [&["config", "print"][..], &["completions", "bash"], &["check", "--client-id", "a"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (status, error) = with_stdout(command, full);
        assert_eq!(status, Some(1), "{command:?}: {error}");
        assert!(error.starts_with("error: can't write to standard output; check where it leads"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn openapi_document_is_printed_without_a_gateway_running() {
    let printed = Files::new().gateway(&["openapi"], None);
    assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
    let document: serde_json::Value = serde_json::from_str(&stdout(&printed)).unwrap();
    assert!(document["paths"]["/v1/products/{id}"]["get"].is_object(), "{document}");
}

#[test]
fn openapi_document_of_an_upstream_that_can_not_be_asked_is_not_printed() {
    let printed = accord_gateway(&["openapi", "--upstream", "shop=http://127.0.0.1:1"]).output().unwrap();
    assert_eq!((printed.status.code(), &*stdout(&printed)), (Some(1), ""));
    assert!(stderr(&printed).starts_with("error: upstream shop: its methods are not known"), "{}", stderr(&printed));
}

/// The sample against itself under another deadline.
fn diff(arguments: &[&str]) -> Output {
    let files = Files::new();
    let deadline = |max: &str| {
        format!(
            "[[rule]]\nselector = \"catalog.v1.ProductService/GetProduct\"\npolicy = {{ deadline = {{ max = \"{max}\" }} }}\n"
        )
    };
    let (old, new) = (files.write("old.toml", &deadline("9s")), files.write("new.toml", &deadline("3s")));
    let mut command = accord_gateway(&["diff"]);
    command.args([files.descriptors(), files.descriptors()]);
    command.arg("--old-overlay").arg(old).arg("--overlay").arg(new).args(arguments);
    command.output().unwrap()
}

#[test]
fn change_that_breaks_is_one_line_and_fails() {
    let compared = diff(&[]);
    assert_eq!(compared.status.code(), Some(1), "{}", stderr(&compared));
    let line = "breaks: catalog.v1.ProductService/GetProduct: deadline.max: 3s, was 9s: calls that take longer fail, whatever time they bring\n";
    assert_eq!(stdout(&compared), line);
}

#[test]
fn change_that_was_not_asked_for_does_not_fail() {
    for (effect, status) in [("loosens", 0), ("none", 0), ("breaks", 1)] {
        assert_eq!(diff(&["--fail-on", effect]).status.code(), Some(status), "{effect}");
    }
}

#[test]
fn changes_are_written_for_programs() {
    let compared = diff(&["--output", "json"]);
    let changes: serde_json::Value = serde_json::from_str(&stdout(&compared)).unwrap();
    let change = &changes["changes"][0];
    assert_eq!(
        (&change["field"], &change["breaks"], &change["loosens"]),
        (&"deadline.max".into(), &true.into(), &false.into())
    );
}

#[test]
fn contract_that_can_not_be_read_has_a_status_of_its_own() {
    let files = Files::new();
    let compared = accord_gateway(&["diff", "nowhere.binpb"]).arg(files.descriptors()).output().unwrap();
    assert_eq!(compared.status.code(), Some(2));
    assert!(stderr(&compared).starts_with("error: nowhere.binpb: "), "{}", stderr(&compared));
}

#[test]
fn configurations_are_compared_with_all_that_they_name() {
    let files = Files::new();
    let configuration = |name: &str, overlay: &str| {
        let (set, overlay) = (files.descriptors(), files.write(&format!("{name}.overlay"), overlay));
        let text = format!(
            "[[upstream]]\nname = \"catalog\"\nurls = [\"http://127.0.0.1:1\"]\ndescriptors = {set:?}\n[contract]\noverlays = [{overlay:?}]\n"
        );
        files.write(&format!("{name}.toml"), &text)
    };
    let public =
        "[[rule]]\nselector = \"catalog.v1.ProductService/ListProducts\"\npolicy = { access = { public = true } }\n";
    let compared =
        accord_gateway(&["diff"]).args([configuration("old", ""), configuration("new", public)]).output().unwrap();
    let expected = "loosens: catalog.v1.ProductService/ListProducts: access: public, was permission catalog.products.read: more callers may call\n";
    assert_eq!((compared.status.code(), &*stdout(&compared)), (Some(1), expected), "{}", stderr(&compared));
}
