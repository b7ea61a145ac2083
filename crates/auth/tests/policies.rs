//! The command line about policies.

use std::process::Command;

use crate::{database, run, suite::Database};

#[test]
fn policy_check_in_json_is_one_object() {
    let database = database().into_inner();
    let check = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accord-auth"));
        command.current_dir(database.directory.path()).args(words.split(' ')).output().unwrap()
    };
    let good = check("policy check --output json");
    assert!(good.status.success() && good.stdout.starts_with(b"{\"good\":true,"), "{good:?}");
    let missing = check("policy check nowhere.cedar --output json");
    assert!(missing.status.code() == Some(1) && missing.stdout.starts_with(b"{\"good\":false,"), "{missing:?}");
}

#[test]
fn check_warns_of_a_policy_that_grants_administration_to_everybody() {
    let database = database().into_inner();
    std::fs::write(database.directory.path().join("open.cedar"), "permit(principal, action, resource);").unwrap();
    for command in ["policy check open.cedar", "check --development --policy open.cedar"] {
        let checked = run(command, &database);
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(
            checked.status.success() && said.starts_with("warning: the policy `open.cedar#1`"),
            "{command}: {said}"
        );
    }
}

#[test]
fn policy_check_reads_what_the_flag_and_the_configuration_name_and_says_so() {
    let database = database().into_inner();
    let permit = r#"permit (principal in Accord::Role::"r", action == Accord::Action::"a.b", resource);"#;
    for (file, text) in [
        ("a.cedar", permit.to_owned()),
        ("b.cedar", permit.repeat(2)),
        ("broken.cedar", "permit (".to_owned()),
        ("auth.toml", "[policy]\nfiles = ['b.cedar']".to_owned()),
    ] {
        std::fs::write(database.directory.path().join(file), text).unwrap();
    }
    let said = |words: &str| {
        let done = run(words, &database);
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    for (words, expected) in [
        ("policy check", "good: 0 files, 0 policies: the built-in ones alone\n"),
        ("policy check a.cedar --policy b.cedar", "good: 2 files, 3 policies: b.cedar, a.cedar\n"),
        ("policy check a.cedar --policy a.cedar", "good: 1 file, 1 policy: a.cedar\n"),
        ("policy check --config auth.toml", "good: 1 file, 2 policies: b.cedar\n"),
    ] {
        assert_eq!(said(words), (Some(0), expected.to_owned()), "{words}");
    }
    for broken in ["policy check --policy broken.cedar", "policy check --policy nowhere.cedar"] {
        assert_eq!(said(broken).0, Some(1), "{broken}");
    }
}

/// A directory with the sample's contract, a policy for its readers, and this table of cases.
fn with_cases(cases: &str) -> Database {
    let database = database().into_inner();
    let reader = r#"@id("readers") permit (principal in Accord::Role::"catalog-reader",
        action == Accord::Action::"catalog.products.read", resource == Accord::Upstream::"catalog");"#;
    let config = "[policy]\nfiles = ['reader.cedar']\n[[upstream]]\nname = 'catalog'\ndescriptors = 'catalog.binpb'\n\
                  services = ['catalog.v1.ProductService']\n";
    let file = |name: &str, bytes: &[u8]| std::fs::write(database.directory.path().join(name), bytes).unwrap();
    file("catalog.binpb", accord_api::FILE_DESCRIPTOR_SET);
    file("reader.cedar", reader.as_bytes());
    file("auth.toml", config.as_bytes());
    file("cases.toml", cases.as_bytes());
    database
}

/// The status and output of `policy test` on these cases.
fn policy_test(cases: &str) -> (Option<i32>, String) {
    let tested = run("policy test cases.toml --config auth.toml", &with_cases(cases));
    (tested.status.code(), String::from_utf8(tested.stdout).unwrap())
}

#[test]
fn policy_test_with_cases_as_expected_is_good() {
    let cases = r#"
[[case]]
name = "a reader reads, by the policy for readers"
roles = ["catalog-reader"]
method = "catalog.v1.ProductService/GetProduct"
expect = "allow"
policies = ["readers"]

[[case]]
name = "a reader does not write"
roles = ["catalog-reader"]
permission = "catalog.products.write"
upstream = "catalog"
expect = "deny"
"#;
    assert_eq!(policy_test(cases), (Some(0), "good: 2 cases of cases.toml are decided as expected\n".to_owned()));
}

#[test]
fn policy_test_decides_with_the_relations_of_the_case() {
    let case = |name: &str, relations: &str, expect: &str| {
        format!(
            "[[case]]\nname = '{name}'\npermission = 'catalog.products.write'\nresource = 'Product/42'\n\
             relations = [{relations}]\nexpect = '{expect}'\n"
        )
    };
    let by_group = "{ object = 'Product/42', relation = 'owner', subject = 'Group/sales#member' }, \
                    { object = 'Group/sales', relation = 'member' }";
    let cases = [
        case("an owner", "{ object = 'Product/42', relation = 'owner' }", "allow"),
        case("of another", "{ object = 'Product/43', relation = 'owner' }", "deny"),
        case("a member", by_group, "allow"),
    ];
    let database = with_cases(&cases.concat());
    let policy = r#"permit (principal, action == Accord::Action::"catalog.products.write", resource is Accord::Product)
        when { principal in resource.owner };"#;
    let config = "[[policy.object]]\nname = 'Product'\nrelations = ['owner']\n\
                  [[policy.object]]\nname = 'Group'\nrelations = ['member']\ngroups = true\n";
    let file = |name: &str, text: &str| std::fs::write(database.directory.path().join(name), text).unwrap();
    file("reader.cedar", policy);
    file("auth.toml", &format!("[policy]\nfiles = ['reader.cedar']\n{config}"));
    let tested = run("policy test cases.toml --config auth.toml", &database);
    let said = String::from_utf8(tested.stdout).unwrap();
    assert_eq!(said, "good: 3 cases of cases.toml are decided as expected\n");
}

#[test]
fn policy_test_names_place_and_policy_of_a_case_decided_otherwise() {
    let cases = "\n[[case]]\nname = 'nobody reads'\nroles = ['catalog-reader']\n\
                 method = 'catalog.v1.ProductService/GetProduct'\nexpect = 'deny'\n";
    let expected = "error: cases.toml:2: nobody reads: expected to be denied, and is allowed: by readers\n";
    assert_eq!(policy_test(cases), (Some(1), expected.to_owned()));
}

#[test]
fn policy_test_of_a_case_that_another_policy_decides_fails() {
    let cases = "[[case]]\nname = 'x'\nroles = ['catalog-reader']\npermission = 'catalog.products.read'\n\
                 upstream = 'catalog'\nexpect = 'allow'\npolicies = ['others']\n";
    let (status, said) = policy_test(cases);
    assert!(status == Some(1) && said.contains("expected to be decided by others, and is: by readers"), "{said}");
}

#[test]
fn policy_test_of_a_method_that_no_contract_has_fails_with_the_remedy() {
    let cases = "[[case]]\nname = 'x'\nmethod = 'catalog.v1.ProductService/GetProducts'\nexpect = 'deny'\n";
    let (status, said) = policy_test(cases);
    assert!(status == Some(1) && said.contains("[[upstream]]"), "{said}");
}

#[test]
fn policy_test_of_a_file_that_is_no_table_of_cases_names_the_place() {
    for (cases, expected) in [("", "missing field"), ("[[case]]\nname = 'x'\nexpct = 'deny'\n", "line 3")] {
        let (status, said) = policy_test(cases);
        assert!(status == Some(1) && said.contains(expected), "{said}");
    }
}
