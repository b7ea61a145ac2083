use super::*;
use crate::config::ObjectConfig;

fn policies(text: &str) -> Result<Policies, PolicyError> {
    of(&[("test", text)])
}

fn of(texts: &[(&str, &str)]) -> Result<Policies, PolicyError> {
    let texts = [("built-in", BUILT_IN)].iter().chain(texts);
    let files: Result<Vec<_>, _> =
        texts.map(|(name, text)| PolicyFile::new((*name).to_owned(), (*text).to_owned())).collect();
    Policies::of(&files?, &[], Contract::default(), ObjectTypes::default())
}

/// The decision of these policies for somebody with this role.
fn decide(text: &str, role: &str, permission: &str) -> PolicyDecision {
    decide_through(text, role, permission, &[])
}

/// The same for a request that came through these workloads.
fn decide_through(text: &str, role: &str, permission: &str, act: &[&str]) -> PolicyDecision {
    let principal = Principal::new("ada".to_owned(), Kind::User, "north".to_owned(), vec![role.to_owned()]);
    let act: Vec<_> = act.iter().map(ToString::to_string).collect();
    let question = AccessQuestion { permission, upstream: "catalog", act: &act, ..AccessQuestion::default() };
    policies(text).unwrap().decide(&principal, &question)
}

fn error(text: &str) -> String {
    policies(text).err().expect("these policies can't be used").to_string()
}

const READ: &str = "catalog.products.read";

const READERS: &str = r#"permit(
    principal in Accord::Role::"catalog-reader", action == Accord::Action::"catalog.products.read", resource);"#;

#[test]
fn granted_permission_is_allowed_by_the_policy_that_grants_it() {
    let decision = decide(READERS, "catalog-reader", READ);
    assert_eq!(decision, PolicyDecision { allowed: true, policies: vec!["test#1".to_owned()], errors: Vec::new() });
}

#[test]
fn permission_that_is_not_granted_is_denied() {
    assert!(!decide(READERS, "catalog-reader", "catalog.products.write").allowed);
}

#[test]
fn role_without_the_grant_is_denied() {
    assert!(!decide(READERS, "stranger", READ).allowed);
}

#[test]
fn mesh_role_may_check_watch_and_use_the_cache() {
    for permission in ["accord.auth.check", "accord.auth.watch", "accord.cache.read", "accord.cache.invalidate"] {
        assert!(decide("", "accord-mesh", permission).allowed, "{permission}");
    }
}

#[test]
fn mesh_role_may_not_rotate_keys_and_the_admin_role_may() {
    assert!(!decide("", "accord-mesh", "accord.auth.rotate").allowed);
    assert!(decide("", "accord-admin", "accord.auth.rotate").allowed);
    let through = |actor: &str| decide_through("", "accord-admin", "accord.auth.rotate", &[actor]).allowed;
    assert!(through("gateway") && !through("orders"), "as administration, and not in a call of a service");
}

#[test]
fn policy_that_fails_to_evaluate_denies_even_where_another_permits() {
    // Valid by its types, but the sum leaves the range of integers when it is computed.
    let broken = format!(
        "{READERS} forbid(principal, action == Accord::Action::\"catalog.products.read\", resource) \
         when {{ 9223372036854775807 + 1 == 0 }};"
    );
    let decision = decide(&broken, "catalog-reader", READ);
    assert_eq!((decision.allowed, decision.errors.len()), (false, 1));
}

#[test]
fn policy_outside_the_schema_is_refused_at_load() {
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
fn syntax_error_names_its_line_and_column() {
    let error = error("permit (principal,\n  action = 3, resource);");
    assert!(error.starts_with("test:2:"), "{error}");
}

#[test]
fn validation_error_names_its_line_and_attribute() {
    let error = error(
        "permit(principal, action, resource);\n@id(\"x\")\npermit(principal, action, resource)\n  \
         when { principal.tenannt == \"north\" };",
    );
    assert!(error.contains("test:4:") && error.contains("tenannt"), "{error}");
}

#[test]
fn slip_in_a_policy_for_many_actions_is_one_error_that_counts_them() {
    let error = error("permit(principal in Accord::Role::\"root\", action, resource) when { context.metod == \"a\" };");
    assert_eq!(error.matches("metod").count(), 1, "{error}");
    assert!(error.contains("test:1:") && error.contains("more, for other actions"), "{error}");
    assert!(error.contains("did you mean `method`?"), "{error}");
}

#[test]
fn two_slips_of_one_policy_are_two_errors_in_the_order_of_the_text() {
    let error = error(
        "permit(principal, action, resource)\n  when { context.metod == \"a\" }\n  when { context.acts.contains(\"b\") };",
    );
    let places = ["test:2:", "test:3:"].map(|place| error.find(place));
    assert!(places[0].is_some() && places[0] < places[1], "{error}");
    assert_eq!(error.matches("; test:").count(), 1, "{error}");
}

#[test]
fn empty_set_in_a_policy_is_refused_with_what_to_write_and_that_loads() {
    let of_act = |asked: &str| format!("permit(principal, action, resource) when {{ {asked} }};");
    let error = error(&of_act("context.act == []"));
    assert!(error.contains("test:1:") && error.contains("`.isEmpty()`"), "{error}");
    assert!(policies(&of_act("context.act.isEmpty()")).is_ok());
}

#[test]
fn policy_files_of_one_name_in_two_directories_load() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|part| directory.path().join(part).join("policies.cedar"));
    for file in &files {
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(file, READERS).unwrap();
    }
    assert!(Policies::load(&PolicyConfig { files: files.to_vec(), ..PolicyConfig::default() }, &[]).is_ok());
}

#[test]
fn policy_id_used_twice_is_refused() {
    let error = of(&[("a", "@id(\"x\") permit(principal, action, resource);"); 2]).err().unwrap().to_string();
    assert!(error.contains("`x`") && error.contains("@id"), "{error}");
}

#[test]
fn forbid_for_every_action_overrides_a_permit() {
    let frozen = format!("{READERS} @id(\"frozen\") forbid(principal, action, resource);");
    let decision = decide(&frozen, "catalog-reader", READ);
    assert_eq!((decision.allowed, decision.policies), (false, vec!["frozen".to_owned()]));
}

#[test]
fn permit_for_every_action_covers_permissions_that_no_policy_names() {
    let any = "permit(principal in Accord::Role::\"root\", action, resource);";
    assert!(decide(any, "root", "named.by.nobody").allowed);
}

#[test]
fn policy_hash_differs_between_sets() {
    assert_ne!(policies(READERS).unwrap().hash, policies("").unwrap().hash);
}

const THROUGH_ORDERS: &str = r#"permit (
    principal in Accord::Role::"catalog-reader", action == Accord::Action::"catalog.products.read", resource)
    when { context.act.contains("orders") };"#;

#[test]
fn policy_over_act_permits_requests_that_came_through_the_named_workload() {
    assert!(decide_through(THROUGH_ORDERS, "catalog-reader", READ, &["orders", "gateway"]).allowed);
    assert!(!decide_through(THROUGH_ORDERS, "catalog-reader", READ, &["stock", "gateway"]).allowed);
}

#[test]
fn policy_over_act_denies_a_principal_that_calls_itself_without_an_error() {
    let decision = decide(THROUGH_ORDERS, "catalog-reader", READ);
    assert_eq!(decision, PolicyDecision { allowed: false, policies: Vec::new(), errors: Vec::new() });
}

#[test]
fn policy_that_grants_everything_to_everybody_is_warned_of_by_name() {
    let warnings = policies("permit(principal, action, resource);").unwrap().warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("`test#1`") && one.contains("accord.auth.rotate")),
        "{warnings:?}"
    );
}

#[test]
fn policy_that_grants_administration_to_every_program_is_warned_of() {
    let text = r#"permit(principal is Accord::Service, action == Accord::Action::"accord.auth.revoke", resource);"#;
    assert_eq!(policies(text).unwrap().warnings().len(), 1);
}

#[test]
fn grant_to_a_role_or_of_an_upstream_is_not_warned_of() {
    let role = r#"permit(principal in Accord::Role::"root", action, resource);"#;
    let upstream = r#"permit(principal, action, resource == Accord::Upstream::"catalog");"#;
    for text in ["", READERS, role, upstream] {
        assert_eq!(policies(text).unwrap().warnings(), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn program_without_a_role_may_introspect_and_a_person_may_not() {
    let policies = policies("").unwrap();
    let question = AccessQuestion { permission: "accord.auth.introspect", ..AccessQuestion::default() };
    for (kind, allowed) in [(Kind::Service, true), (Kind::User, false)] {
        let principal = Principal::new("it".to_owned(), kind, String::new(), Vec::new());
        assert_eq!(policies.decide(&principal, &question).allowed, allowed, "{kind:?}");
    }
}

/// The decisions in force and in shadow for a reader who reads, where these policies are tried.
fn tried(text: &str) -> (bool, Option<PolicyDecision>) {
    let file = |name: &str, text: &str| PolicyFile::new(name.to_owned(), text.to_owned()).unwrap();
    let enforced = [file("built-in", BUILT_IN), file("test", READERS)];
    let tried: Vec<_> = (!text.is_empty()).then(|| file("tried", text)).into_iter().collect();
    let policies = Policies::of(&enforced, &tried, Contract::default(), ObjectTypes::default()).unwrap();
    let reader = Principal::new("ada".to_owned(), Kind::User, "north".to_owned(), vec!["catalog-reader".to_owned()]);
    let question = AccessQuestion { permission: READ, upstream: "catalog", ..AccessQuestion::default() };
    (policies.decide(&reader, &question).allowed, policies.decide_in_shadow(&reader, &question))
}

#[test]
fn policy_in_shadow_is_evaluated_and_not_enforced() {
    let (allowed, shadow) = tried("@id(\"frozen\") forbid(principal, action, resource);");
    let shadow = shadow.unwrap();
    assert_eq!((allowed, shadow.allowed, shadow.policies), (true, false, vec!["frozen".to_owned()]));
}

#[test]
fn nothing_is_decided_in_shadow_where_no_policy_is_tried() {
    assert_eq!(tried("").1, None);
}

#[test]
fn policy_in_shadow_is_validated_like_those_in_force() {
    let file = |name: &str, text: &str| PolicyFile::new(name.to_owned(), text.to_owned()).unwrap();
    let broken = file("tried", "permit(principal, action, resource) when { principal.tenannt == \"north\" };");
    assert!(
        Policies::of(&[file("built-in", BUILT_IN)], &[broken], Contract::default(), ObjectTypes::default()).is_err()
    );
}

#[test]
fn policies_about_other_actions_are_not_evaluated() {
    let many = |count: usize| {
        let other = |number: usize| READERS.replace("products.read", &format!("things{number}.read"));
        policies(&(0..count).map(other).chain([READERS.to_owned()]).collect::<String>()).unwrap()
    };
    let evaluated = [10, 100].map(|count| many(count).enforced.about(READ).policies().count());
    assert_eq!(evaluated, [1, 1]);
}

/// Whether a reader may read, asked like this.
fn asked(text: &str, how: AccessQuestion<'_>) -> PolicyDecision {
    let reader = Principal::new("ada".to_owned(), Kind::User, "north".to_owned(), vec!["catalog-reader".to_owned()]);
    policies(text).unwrap().decide(&reader, &AccessQuestion { permission: READ, upstream: "catalog", ..how })
}

fn readers_when(condition: &str) -> String {
    READERS.replace(");", &format!(") when {{ {condition} }};"))
}

#[test]
fn policy_over_the_address_permits_its_network_alone_and_nobody_whose_address_is_not_known() {
    let inside = readers_when(r#"context has address && context.address.isInRange(ip("10.0.0.0/8"))"#);
    for (address, allowed) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.0.2.1", false), ("::1", false)] {
        let how = AccessQuestion { address: Some(address.parse().unwrap()), ..AccessQuestion::default() };
        assert_eq!(asked(&inside, how).allowed, allowed, "{address}");
    }
    let unknown = asked(&inside, AccessQuestion::default());
    assert_eq!(unknown, PolicyDecision { allowed: false, policies: Vec::new(), errors: Vec::new() });
}

#[test]
fn policy_over_the_address_that_does_not_ask_whether_it_is_known_is_refused() {
    let error = error(&readers_when("context.address.isLoopback()"));
    assert!(error.contains("address"), "{error}");
}

#[test]
fn policy_over_the_protocol_permits_it_alone() {
    let text = readers_when(r#"context.protocol == "grpc""#);
    for (protocol, allowed) in [("grpc", true), ("json", false), ("", false)] {
        assert_eq!(
            asked(&text, AccessQuestion { protocol, ..AccessQuestion::default() }).allowed,
            allowed,
            "{protocol}"
        );
    }
}

#[test]
fn policy_over_the_time_permits_until_it_comes() {
    let text = readers_when(r#"context.time < datetime("2026-11-29T12:00:00Z")"#);
    let noon = 1_795_953_600;
    for (now, allowed) in [(noon - 1, true), (noon, false)] {
        assert_eq!(asked(&text, AccessQuestion { now, ..AccessQuestion::default() }).allowed, allowed, "{now}");
    }
}

#[test]
fn policy_over_the_age_of_the_token_permits_new_ones_alone() {
    let text = readers_when("context.token_age <= 300");
    for (token_age, allowed) in [(300, true), (301, false)] {
        let how = AccessQuestion { token_age, ..AccessQuestion::default() };
        assert_eq!(asked(&text, how).allowed, allowed, "{token_age}");
    }
}

#[test]
fn policies_say_what_they_read_of_a_call() {
    let reads = |condition| policies(&readers_when(condition)).unwrap().reads;
    assert_eq!(policies(READERS).unwrap().reads, PolicyReads::default());
    assert!(reads("context has address").address);
    assert!(reads(r#"context.protocol == "grpc""#).protocol);
    assert!(reads("context.token_age < 5").time);
}

/// With products that have owners, and groups that have members.
fn with_objects(text: &str) -> Result<Policies, PolicyError> {
    let declared = |name: &str, relation: &str, groups| ObjectConfig {
        name: name.to_owned(),
        relations: vec![relation.to_owned()],
        groups,
        permission: None,
    };
    let objects = ObjectTypes::of(&[declared("Product", "owner", false), declared("Group", "member", true)]);
    let files = [("built-in", BUILT_IN), ("test", text)];
    let files: Result<Vec<_>, _> =
        files.map(|(name, text)| PolicyFile::new(name.to_owned(), text.to_owned())).into_iter().collect();
    Policies::of(&files?, &[], Contract::default(), objects)
}

const OWNERS: &str = r#"permit(principal, action == Accord::Action::"write", resource is Accord::Product)
    when { principal in resource.owner };"#;

#[test]
fn relations_that_types_do_not_declare_are_refused_at_load() {
    assert!(with_objects(OWNERS).is_ok());
    for wrong in [
        r#"permit(principal, action == Accord::Action::"write", resource is Accord::Product)
            when { principal in resource.keeper };"#,
        r#"permit(principal, action == Accord::Action::"write", resource) when { principal in resource.owner };"#,
        r#"permit(principal in Accord::Team::"a", action == Accord::Action::"write", resource);"#,
    ] {
        assert!(with_objects(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn policies_look_at_relations_where_they_ask_what_a_principal_is_in_beside_roles() {
    for (condition, looks) in [
        ("true", false),
        (r#"principal in Accord::Role::"in""#, false),
        (r#"principal in Accord::Group::"sales""#, true),
        ("resource is Accord::Product && principal in resource.owner", true),
        (r#"principal in [Accord::Group::"a", Accord::Group::"b"]"#, true),
    ] {
        let action = r#"action in [Accord::Action::"read", Accord::Action::"write"]"#;
        let text = format!("permit(principal, {action}, resource) when {{ {condition} }};");
        let policies = with_objects(&text).unwrap();
        assert_eq!(policies.read_relations("write"), looks, "{condition}");
        assert!(!policies.read_relations("another"), "{condition}");
    }
    assert!(!policies(READERS).unwrap().read_relations(READ));
}

#[test]
fn whoever_holds_a_relation_is_in_it_and_a_member_in_the_group() {
    let policies = with_objects(&format!(
        r#"{OWNERS} permit(principal in Accord::Group::"sales", action == Accord::Action::"read", resource);"#
    ));
    let policies = policies.unwrap();
    let ada = Principal::new("ada".to_owned(), Kind::User, String::new(), Vec::new());
    let relations = ["Product/42#owner".to_owned(), "Group/sales#member".to_owned()];
    for (permission, resource, relations, allowed) in [
        ("write", "Product/42", &relations[..], true),
        ("write", "Product/43", &relations[..], false),
        ("write", "Product/42", &[], false),
        ("read", "", &relations[..], true),
        ("read", "", &relations[..1], false),
    ] {
        let question = AccessQuestion { permission, resource, relations, ..AccessQuestion::default() };
        assert_eq!(policies.decide(&ada, &question).allowed, allowed, "{permission} {resource} {relations:?}");
    }
}
