use super::*;

fn policies(text: &str) -> Result<Policies, PolicyError> {
    of(&[("test", text)])
}

fn of(texts: &[(&str, &str)]) -> Result<Policies, PolicyError> {
    let texts = [("built-in", BUILT_IN)].iter().chain(texts);
    let sources: Result<Vec<_>, _> =
        texts.map(|(name, text)| Source::new((*name).to_owned(), (*text).to_owned())).collect();
    Policies::of(&sources?)
}

fn somebody(role: &str) -> Principal {
    Principal {
        subject: "ada".to_owned(),
        kind: Kind::User,
        tenant: "north".to_owned(),
        roles: vec![role.to_owned()],
        epoch: 0,
    }
}

const READERS: &str = r#"permit(
    principal in Accord::Role::"catalog-reader", action == Accord::Action::"catalog.products.read", resource);"#;

#[test]
fn a_role_holds_the_permission_that_a_policy_grants_it_and_no_other() {
    let policies = policies(READERS).unwrap();
    let verdict = policies.decide(&somebody("catalog-reader"), "catalog.products.read", "catalog", "");
    assert_eq!(verdict, Verdict { allowed: true, policies: vec!["test#1".to_owned()], errors: Vec::new() });
    assert!(!policies.decide(&somebody("catalog-reader"), "catalog.products.write", "catalog", "").allowed);
    assert!(!policies.decide(&somebody("stranger"), "catalog.products.read", "catalog", "").allowed);
}

#[test]
fn the_mesh_may_check_but_not_rotate_and_an_admin_may_both() {
    let policies = policies("").unwrap();
    for permission in ["accord.auth.check", "accord.auth.watch", "accord.cache.read", "accord.cache.invalidate"] {
        assert!(policies.decide(&somebody("accord-mesh"), permission, "", "").allowed, "{permission}");
    }
    assert!(!policies.decide(&somebody("accord-mesh"), "accord.auth.rotate", "", "").allowed);
    assert!(policies.decide(&somebody("accord-admin"), "accord.auth.rotate", "", "").allowed);
}

#[test]
fn a_policy_that_fails_denies_even_where_another_permits() {
    // Valid by its types, but the sum leaves the range of integers when it is computed.
    let broken = format!(
        "{READERS} forbid(principal, action == Accord::Action::\"catalog.products.read\", resource) \
         when {{ 9223372036854775807 + 1 == 0 }};"
    );
    let verdict =
        policies(&broken).unwrap().decide(&somebody("catalog-reader"), "catalog.products.read", "catalog", "");
    assert!(!verdict.allowed);
    assert_eq!(verdict.errors.len(), 1);
}

#[test]
fn what_does_not_fit_the_schema_is_refused_at_load() {
    for wrong in [
        "permit(principal in Accord::Group::\"x\", action, resource);",
        "permit(principal, action, resource) when { principal.tenannt == \"north\" };",
        "permit(principal == ?principal, action, resource);",
        "permit(principal",
    ] {
        assert!(policies(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_mistake_is_told_with_its_line_and_column() {
    let told = policies("permit (principal,\n  action = 3, resource);").err().unwrap().to_string();
    assert!(told.starts_with("test:2:"), "{told}");
    let unfit = "permit(principal, action, resource);\n@id(\"x\")\npermit(principal, action, resource)\n  \
                 when { principal.tenannt == \"north\" };";
    let told = policies(unfit).err().unwrap().to_string();
    assert!(told.contains("test:4:") && told.contains("tenannt"), "{told}");
}

#[test]
fn files_of_one_name_in_two_directories_are_two_files() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|part| directory.path().join(part).join("policies.cedar"));
    for file in &files {
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(file, READERS).unwrap();
    }
    assert!(Policies::load(&files).is_ok());
    let told = of(&[("a", "@id(\"x\") permit(principal, action, resource);"); 2]).err().unwrap().to_string();
    assert!(told.contains("`x`") && told.contains("@id"), "{told}");
}

#[test]
fn a_policy_for_every_action_counts_for_each() {
    let frozen = format!("{READERS} @id(\"frozen\") forbid(principal, action, resource);");
    let verdict =
        policies(&frozen).unwrap().decide(&somebody("catalog-reader"), "catalog.products.read", "catalog", "");
    assert_eq!((verdict.allowed, verdict.policies), (false, vec!["frozen".to_owned()]));
    let any = policies("permit(principal in Accord::Role::\"root\", action, resource);").unwrap();
    assert!(any.decide(&somebody("root"), "named.by.nobody", "", "").allowed);
}

#[test]
fn another_set_has_another_name() {
    assert_ne!(policies(READERS).unwrap().hash, policies("").unwrap().hash);
}
