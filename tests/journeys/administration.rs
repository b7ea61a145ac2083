//! Administration through the gateway, as JSON: `AdminService` of auth is an upstream like any other.

use crate::reason;
use accord_fabric::{Fabric, Part, READER};
use anyhow::Result;
use http::Method;
use serde_json::json;
use toml::toml;

const ADMINISTRATOR: &str = "operator";
const PRINCIPALS: &str = "/v1/auth/principals";

/// A fabric whose gateway fronts auth, and the token of an administrator.
async fn start() -> Result<(Fabric, String)> {
    let builder = Fabric::builder()?;
    let url = format!("http://{}", builder.address(Part::Auth));
    let services = toml! {
        services = ["accord.auth.v1.AdminService", "accord.auth.v1.KeyService", "accord.auth.v1.RelationService"]
    };
    let objects = toml! {
        [[policy.object]]
        name = "Product"
        relations = ["owner"]
    };
    let builder = builder.upstream("auth", &url).upstream_settings("auth", services).settings(Part::Auth, objects);
    let fabric = builder.start().await?;
    fabric.manage(&["principal", "add", ADMINISTRATOR, "--role", "accord-admin"]).await?;
    let token = fabric.token(ADMINISTRATOR).await?;
    Ok((fabric, token))
}

#[tokio::test]
async fn administrator_adds_and_disables_a_person_as_json() -> Result<()> {
    let (fabric, token) = start().await?;
    let zoe = json!({
        "principal": {"subject": "zoe", "kind": "PRINCIPAL_KIND_USER", "roles": ["catalog-reader"]},
        "idempotencyKey": "add-zoe"
    });
    for _ in 0..2 {
        let added = fabric.call(Method::POST, PRINCIPALS).token(&token).json(&zoe).send().await?;
        assert_eq!(
            (added.status.as_u16(), &added.json()?["principal"]["version"]),
            (200, &json!("1")),
            "{}",
            added.text()
        );
    }
    let theirs = fabric.token("zoe").await?;
    assert_eq!(fabric.get("/v1/products").token(&theirs).send().await?.status, 200);
    let disable = json!({"standing": "STANDING_DISABLED", "expectedVersion": "1"});
    let path = format!("{PRINCIPALS}/zoe:setStanding");
    let disabled = fabric.call(Method::POST, &path).token(&token).json(&disable).send().await?;
    assert_eq!(disabled.status, 200, "{}", disabled.text());
    let again = fabric.call(Method::POST, &path).token(&token).json(&disable).send().await?;
    assert_eq!((again.status.as_u16(), reason(&again)), (409, "VERSION_CONFLICT".to_owned()));
    let shown = fabric.get(&format!("{PRINCIPALS}/zoe")).token(&token).send().await?.json()?;
    assert_eq!(shown["principal"]["standing"], "STANDING_DISABLED");
    fabric.stop().await
}

#[tokio::test]
async fn person_without_the_role_sees_no_principals() -> Result<()> {
    let (fabric, _) = start().await?;
    let listed = fabric.get(PRINCIPALS).token(&fabric.token(READER).await?).send().await?;
    assert_eq!((listed.status.as_u16(), reason(&listed)), (403, "PERMISSION_MISSING".to_owned()));
    fabric.stop().await
}

#[tokio::test]
async fn administrator_writes_lists_and_removes_relations_as_json() -> Result<()> {
    let (fabric, token) = start().await?;
    let relation = json!({"object": "Product/42", "relation": "owner", "subject": "User/ada"});
    let write = async |change: serde_json::Value| {
        fabric.call(Method::POST, "/v1/auth/relations:write").token(&token).json(&change).send().await
    };
    let add = json!({"add": [relation], "idempotencyKey": "own-42"});
    let (first, again) = (write(add.clone()).await?, write(add).await?);
    assert_eq!((first.status.as_u16(), &first.json()?["changed"]), (200, &json!(1)), "{}", first.text());
    assert_eq!(again.json()?, first.json()?, "once, and answered alike");
    let path = "/v1/auth/relations/Product?object=Product/42";
    let listed = fabric.get(path).token(&token).send().await?.json()?;
    assert_eq!((&listed["relations"], &listed["version"]), (&json!([relation]), &first.json()?["version"]));
    let stale = json!({"remove": [relation], "expectedVersions": [{"object": "Product/42", "version": "1"}]});
    let refused = write(stale).await?;
    assert_eq!((refused.status.as_u16(), reason(&refused)), (409, "VERSION_CONFLICT".to_owned()));
    let removed = write(json!({"remove": [relation]})).await?;
    assert_eq!(removed.json()?["changed"], 1);
    let reader = fabric.get(path).token(&fabric.token(READER).await?).send().await?;
    assert_eq!((reader.status.as_u16(), reason(&reader)), (403, "PERMISSION_MISSING".to_owned()));
    fabric.stop().await
}

#[tokio::test]
async fn administrator_changes_links_and_keys_of_clients_as_json() -> Result<()> {
    let (fabric, token) = start().await?;
    let post = async |path: &str, body: serde_json::Value| {
        fabric.call(Method::POST, path).token(&token).json(&body).send().await
    };
    let link = json!({"issuer": "corp", "externalSubject": "5f2a", "subject": ADMINISTRATOR});
    assert_eq!(post("/v1/auth/links", json!({"link": link})).await?.status, 200);
    let path = format!("/v1/auth/links?subject={ADMINISTRATOR}");
    assert_eq!(fabric.get(&path).token(&token).send().await?.json()?["links"], json!([link]));
    // The example of RFC 8037, appendix A.2.
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "first", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let add = json!({"clientId": "mill", "jwks": json!({"keys": [jwk]}).to_string()});
    assert_eq!(post("/v1/auth/clients", add).await?.json()?, json!({}));
    let keys = fabric.get("/v1/auth/clients/mill/keys").token(&token).send().await?.json()?;
    assert_eq!((&keys["keys"][0]["keyId"], &keys["keys"][0]["algorithm"]), (&json!("first"), &json!("EdDSA")));
    let stale = post("/v1/auth/clients/mill/keys/first:remove", json!({"expectedVersion": "1"})).await?;
    assert_eq!((stale.status.as_u16(), reason(&stale)), (409, "VERSION_CONFLICT".to_owned()));
    let removed = post("/v1/auth/clients/mill/keys/first:remove", json!({"expectedVersion": keys["version"]})).await?;
    assert_eq!(removed.status, 200, "{}", removed.text());
    // The token of who asks is one of those that end.
    assert_eq!(post("/v1/auth/links:remove", json!({"link": link})).await?.status, 200);
    fabric.stop().await
}

#[tokio::test]
async fn administrator_lists_rotates_and_retires_signing_keys_as_json() -> Result<()> {
    let (fabric, token) = start().await?;
    let post = async |path: &str, body: serde_json::Value| {
        fabric.call(Method::POST, path).token(&token).json(&body).send().await
    };
    let rotate = json!({"idempotencyKey": "one"});
    let (first, again) =
        (post("/v1/auth/keys:rotate", rotate.clone()).await?, post("/v1/auth/keys:rotate", rotate).await?);
    assert_eq!((first.status.as_u16(), first.json()?), (200, again.json()?), "{}", first.text());
    let next = first.json()?["key"]["kid"].as_str().unwrap_or_default().to_owned();
    let listed = fabric.get("/v1/auth/keys").send().await?.json()?;
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(2));
    assert_ne!(listed["signingKid"], next);
    let retired = post(&format!("/v1/auth/keys/{next}:retire"), json!({})).await?;
    assert_eq!((retired.status.as_u16(), &retired.json()?["signingKid"]), (200, &listed["signingKid"]));
    let path = format!("/v1/auth/keys/{}:retire", listed["signingKid"].as_str().unwrap_or_default());
    let reader = fabric.call(Method::POST, &path).token(&fabric.token(READER).await?).json(&json!({})).send().await?;
    assert_eq!((reader.status.as_u16(), reason(&reader)), (403, "PERMISSION_MISSING".to_owned()));
    fabric.stop().await
}

#[tokio::test]
async fn administrator_reads_roles_policies_and_the_audit_log_as_json() -> Result<()> {
    let (fabric, token) = start().await?;
    let get = async |path: &str| fabric.get(path).token(&token).send().await;
    let roles = get("/v1/auth/roles").await?.json()?;
    let admin = roles["roles"].as_array().and_then(|roles| roles.iter().find(|role| role["role"] == "accord-admin"));
    assert_eq!(admin.map(|role| &role["holders"]), Some(&json!("1")), "{roles}");
    let holders = get("/v1/auth/roles/accord-admin/holders").await?.json()?;
    assert_eq!(holders["subjects"], json!([ADMINISTRATOR]));
    let policy = get("/v1/auth/policies/accord-mesh").await?.json()?;
    assert_eq!(policy["policy"]["origin"], "built-in");
    let listed = get("/v1/auth/policies").await?.json()?;
    assert_eq!(listed["policyHash"], policy["policyHash"]);
    let log = fabric.get("/v1/auth/audit:watch").token(&token).header("request-timeout", "1").send().await?;
    let first: serde_json::Value = serde_json::from_str(log.text().lines().next().unwrap_or_default())?;
    assert_eq!(first["entries"][0]["seq"], "1", "{}", log.text());
    fabric.stop().await
}
