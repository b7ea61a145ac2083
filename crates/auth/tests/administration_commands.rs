//! Commands about keys, roles, policies and logins, and the first administrator, as people type them.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use accord_api::accord::auth::v1::{ListPrincipalsRequest, admin_service_client::AdminServiceClient};
use accord_runtime::config::Secret;
use accord_token::{Type, verify};
use serde_json::Value;

use crate::{
    database, fails, printed, run, succeeds,
    suite::{PASSWORD, Server, authorized},
};

fn json(words: &str, database: &crate::Database) -> Value {
    serde_json::from_str(&printed(&format!("{words} --output json"), database)).unwrap()
}

#[test]
fn signing_key_is_listed_rotated_and_retired() {
    let database = database().into_inner();
    succeeds("principal add ada --development", &database);
    succeeds("token issue --subject ada --development", &database);
    let first = json("key list", &database)[0]["kid"].as_str().unwrap().to_owned();
    let next = printed("key rotate --development", &database).trim().to_owned();
    let state = |kid: &str| {
        let listed = json("key list", &database);
        let key = listed.as_array().unwrap().iter().find(|key| key["kid"] == kid);
        key.map(|key| key["state"].as_str().unwrap().to_owned())
    };
    assert_eq!([state(&first), state(&next)], [Some("signing".to_owned()), Some("next".to_owned())]);
    let lines = printed("key list", &database);
    assert!(lines.contains(&format!("{next}\tEdDSA\tnext\tfrom=")), "{lines}");
    fails("key retire another --development", &database, "no signing key `another` is published");
    let retired = printed(&format!("key retire {first} --development"), &database);
    assert_eq!(retired, format!("retired `{first}`, with everything that it signed; `{next}` signs now\n"));
    assert_eq!([state(&first), state(&next)], [None, Some("signing".to_owned())]);
}

#[test]
fn reseal_says_what_needs_the_key_before_and_when_it_is_done() {
    let database = database().into_inner();
    succeeds("principal add ada --development", &database);
    succeeds("api-key add ada --key-file ada.key --development", &database);
    succeeds("key new next.key", &database);
    let swapped = "--encryption-key-file next.key";
    let old = database.directory.path().join("auth.db.key");
    let accepting = format!("[keys]\naccepted_encryption_key_file = '{}'\n", old.display());
    std::fs::write(database.directory.path().join("auth.toml"), accepting).unwrap();
    fails(&format!("key reseal {swapped}"), &database, "was encrypted with another encryption key");
    let reseal = format!("key reseal {swapped} --config auth.toml");
    let first = run(&reseal, &database);
    let said = String::from_utf8(first.stdout).unwrap();
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.starts_with("sealed anew: 1 signing keys, 0 second factors\nnot done: 1 API keys,"), "{said}");
    let id = printed("api-key list", &database).split('\t').next().unwrap().to_owned();
    assert!(said.contains(&format!("API keys: {id}\n")), "{said}");
    succeeds(&format!("api-key remove {id}"), &database);
    assert_eq!(json(&reseal, &database)["done"], true);
    assert!(printed(&reseal, &database).ends_with("so take it out\n"));
    succeeds(&format!("token issue --subject ada {swapped}"), &database);
}

#[test]
fn roles_are_listed_with_their_holders() {
    let database = database().into_inner();
    succeeds("principal add ada --role accord-admin --development", &database);
    succeeds("principal add bob --role accord-admin --development", &database);
    assert!(printed("role list", &database).starts_with("accord-admin\tholders=2\tpolicies=accord-admin,"));
    assert_eq!(printed("role holders accord-admin", &database), "ada\nbob\n");
    let listed = json("role list", &database);
    let gateway = listed.as_array().unwrap().iter().find(|role| role["role"] == "accord-gateway").unwrap();
    assert_eq!((&gateway["holders"], &gateway["policies"][0]), (&0.into(), &"accord-gateway".into()));
}

#[test]
fn policies_are_listed_and_shown() {
    let database = database().into_inner();
    let file = database.directory.path().join("shop.cedar");
    let text = "@id(\"shop\") permit(principal, action == Accord::Action::\"shop.read\", resource);";
    std::fs::write(&file, text).unwrap();
    let listed = printed("policy list --policy shop.cedar", &database);
    assert!(listed.contains("accord-mesh\tbuilt-in\tenforced\n") && listed.contains("shop\tshop.cedar\tenforced\n"));
    let shown = json("policy show shop --policy shop.cedar", &database);
    assert_eq!((&shown["origin"], &shown["state"]), (&"shop.cedar".into(), &"enforced".into()));
    assert!(shown["text"].as_str().unwrap().contains("shop.read") && !shown["set"].as_str().unwrap().is_empty());
    fails("policy show another", &database, "no policy is called `another`");
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let database = database().await;
    let server = Server::start(&database, |_| {}).await;
    let session = server.log_in("ada", PASSWORD).await.unwrap();
    let listed = json("session list ada", &database);
    let name = listed[0]["session"].as_str().unwrap();
    assert!(session.refresh_token.contains(name) && listed[0]["renewed"].is_null(), "{listed}");
    succeeds(&format!("session end {name}"), &database);
    assert!(!server.is_active(&session.access_token).await);
    assert_eq!(printed("session list ada", &database), "");
    fails(&format!("session end {name}"), &database, "can be renewed");
    fails("session list nobody", &database, "`nobody` is not known");
}

#[tokio::test]
async fn bootstrap_makes_one_administrator_whose_token_lives_a_quarter_of_an_hour() {
    let database = database().await;
    let made = run("bootstrap ada --development", &database);
    assert!(made.status.success(), "{made:?}");
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert_eq!(printed("principal list", &database), "ada\tuser\tactive\troles=accord-admin\n", "no other account");
    fails("bootstrap ada --development", &database, "`ada` exists already");

    let key = std::fs::read_to_string(database.directory.path().join("auth.db.key")).unwrap();
    let server = Server::start(&database, |config| config.keys.encryption_key = Secret::from(key.clone())).await;
    let request = authorized(ListPrincipalsRequest::default(), &token);
    let listed = AdminServiceClient::new(server.channel.clone()).list_principals(request).await.unwrap();
    assert!(listed.into_inner().principals.iter().any(|known| known.principal.as_ref().unwrap().subject == "ada"));
    let state = server.auth.state.current().await.unwrap();
    let claims = verify::signed(&token, Type::Access, &state.snapshot.keys).unwrap().claims;
    assert_eq!(claims.exp - claims.iat, 15 * 60);
    assert!(server.log_in("ada", PASSWORD).await.is_err(), "without a password file the token is the only way in");
    let (log, _) = server.auth.store.audit_log().await.unwrap();
    let actions: Vec<_> = log.iter().filter(|entry| entry.target == "ada").map(|entry| &*entry.action).collect();
    assert_eq!(actions[..2], ["principal.add", "token.issue"]);
}

#[tokio::test]
async fn bootstrap_with_a_password_file_lets_the_administrator_log_in() {
    let database = database().await;
    std::fs::write(database.directory.path().join("root.password"), PASSWORD).unwrap();
    fails("bootstrap root --password-file missing --development", &database, "missing can't be read");
    assert_eq!(printed("principal list", &database), "", "nobody was made");
    succeeds("bootstrap root --password-file root.password --development", &database);
    let key = std::fs::read_to_string(database.directory.path().join("auth.db.key")).unwrap();
    let server = Server::start(&database, |config| config.keys.encryption_key = Secret::from(key.clone())).await;
    let token = server.log_in("root", PASSWORD).await.unwrap().access_token;
    let request = authorized(ListPrincipalsRequest::default(), &token);
    assert!(AdminServiceClient::new(server.channel.clone()).list_principals(request).await.is_ok());
}

#[test]
fn export_that_follows_goes_on_with_what_other_processes_write() {
    let database = database().into_inner();
    succeeds("principal add ada --development", &database);
    let mut following = Command::new(env!("CARGO_BIN_EXE_accord-auth"))
        .current_dir(database.directory.path())
        .args(["audit", "export", "--follow", "--store", &database.url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, received) = std::sync::mpsc::channel();
    let output = BufReader::new(following.stdout.take().unwrap());
    let reading =
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    let next = || {
        let line = received.recv_timeout(Duration::from_secs(30)).expect("a line");
        serde_json::from_str::<Value>(&line).unwrap()
    };
    // Everything that is there, to its end.
    let mut last = next();
    while last["action"] != "principal.add" {
        last = next();
    }
    for name in ["bob", "eve"] {
        succeeds(&format!("principal add {name} --development"), &database);
        let new = next();
        assert_eq!((&new["target"], &new["previous"]), (&name.into(), &last["hash"]));
        last = new;
    }
    following.kill().unwrap();
    following.wait().unwrap();
    drop(received);
    drop(reading.join());
}
