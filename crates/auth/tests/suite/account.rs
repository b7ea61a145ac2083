//! What people do about their own accounts.

use accord_api::accord::auth::v1::{
    ChangePasswordRequest, ConfirmSecondFactorRequest, CreateResetCodeRequest, DropSecondFactorRequest,
    EndOwnSessionRequest, EnrollSecondFactorRequest, ListOwnSessionsRequest, RefreshRequest, RemoveSecondFactorRequest,
    ResetPasswordRequest, account_service_client::AccountServiceClient, admin_service_client::AdminServiceClient,
};
use aws_lc_rs::hmac;

use super::*;

const NEW_PASSWORD: &str = "another password";

/// What an app on somebody's telephone makes of a secret.
pub(super) struct App(Vec<u8>);

impl App {
    fn of(secret: &str) -> Self {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
        for letter in secret.bytes() {
            let value = letters.iter().position(|known| *known == letter).unwrap();
            (bits, held) = (bits << 5 | u32::try_from(value).unwrap(), held + 5);
            if held >= 8 {
                held -= 8;
                bytes.push(u8::try_from(bits >> held & 255).unwrap());
            }
        }
        Self(bytes)
    }

    /// The code that it shows so many steps from now.
    pub(super) fn code(&self, steps: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &(verify::now() / 30 + steps).to_be_bytes());
        let offset = usize::from(tag.as_ref()[19] & 15);
        let number = u32::from_be_bytes(tag.as_ref()[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }
}

pub(super) fn accounts(server: &Server) -> AccountServiceClient<Channel> {
    AccountServiceClient::new(server.channel.clone())
}

pub(super) async fn log_in_with(server: &Server, totp_code: &str) -> Result<IssueResponse, Status> {
    let grant =
        PasswordGrant { name: "ada".to_owned(), password: PASSWORD.to_owned(), totp_code: totp_code.to_owned() };
    let request = IssueRequest { grant: Some(Grant::Password(grant)) };
    server.tokens().issue(request).await.map(tonic::Response::into_inner)
}

/// Ada's app, whose codes her logins take from now on; its code of now was used.
pub(super) async fn with_second_factor(server: &Server) -> App {
    let token = server.token_of("ada").await;
    let enrolled = accounts(server).enroll_second_factor(authorized(enrollment(), &token)).await;
    let app = App::of(&enrolled.unwrap().into_inner().secret);
    let confirm = ConfirmSecondFactorRequest { totp_code: app.code(-1) };
    accounts(server).confirm_second_factor(authorized(confirm, &token)).await.unwrap();
    app
}

fn enrollment() -> EnrollSecondFactorRequest {
    EnrollSecondFactorRequest { password: PASSWORD.to_owned() }
}

fn change(password: &str) -> ChangePasswordRequest {
    ChangePasswordRequest {
        name: "ada".to_owned(),
        password: password.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
        ..ChangePasswordRequest::default()
    }
}

async fn reset_code(server: &Server, subject: &str) -> Result<String, Status> {
    let request = CreateResetCodeRequest { subject: subject.to_owned(), ..CreateResetCodeRequest::default() };
    let request = authorized(request, &server.token_of("root").await);
    let created = AdminServiceClient::new(server.channel.clone()).create_reset_code(request).await?;
    Ok(created.into_inner().reset_code)
}

pub(super) fn reset(code: &str) -> ResetPasswordRequest {
    ResetPasswordRequest {
        name: "ada".to_owned(),
        reset_code: code.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
        ..ResetPasswordRequest::default()
    }
}

pub(crate) async fn changed_password_ends_every_login_and_is_the_only_one(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let before = server.log_in("ada", PASSWORD).await.unwrap();
    accounts(&server).change_password(change(PASSWORD)).await.unwrap();
    assert!(!server.is_active(&before.access_token).await);
    assert!(server.log_in("ada", PASSWORD).await.is_err());
    assert!(server.log_in("ada", NEW_PASSWORD).await.is_ok());
}

pub(crate) async fn login_under_way_while_the_password_changes_leaves_no_session(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut changing = accounts(&server);
    let changed = tokio::spawn(async move { changing.change_password(change(PASSWORD)).await });
    // They go on until the change is there, so that some have compared the old password by then, and begun no session.
    let log_in = async || {
        let mut began = Vec::new();
        while let Ok(login) = server.log_in("ada", PASSWORD).await {
            began.push(login);
        }
        began
    };
    let (one, other, third) = tokio::join!(log_in(), log_in(), log_in());
    changed.await.unwrap().unwrap();
    let began: Vec<_> = [one, other, third].into_iter().flatten().collect();
    for IssueResponse { access_token, refresh_token, .. } in began {
        assert!(!server.is_active(&access_token).await);
        let refreshed = server.tokens().refresh(RefreshRequest { refresh_token }).await;
        assert_eq!(refused(refreshed), Reason::CredentialInvalid);
    }
}

pub(crate) async fn change_with_a_wrong_password_is_refused_and_throttled(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    for _ in 0..5 {
        let refusal = accounts(&server).change_password(change("a wrong guess")).await;
        assert_eq!(refused(refusal), Reason::CredentialInvalid);
    }
    assert_eq!(refused(accounts(&server).change_password(change(PASSWORD)).await), Reason::LoginThrottled);
}

pub(crate) async fn new_password_too_short_or_too_long_is_refused_before_anything_is_checked(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    for new_password in ["short".to_owned(), "x".repeat(1025)] {
        let request = ChangePasswordRequest { new_password, ..change(PASSWORD) };
        assert_eq!(refused(accounts(&server).change_password(request).await), Reason::FieldInvalid);
    }
}

pub(crate) async fn reset_code_sets_another_password_once(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let before = server.log_in("ada", PASSWORD).await.unwrap();
    let code = reset_code(&server, "ada").await.unwrap();
    accounts(&server).reset_password(reset(&code)).await.unwrap();
    assert!(!server.is_active(&before.access_token).await);
    assert!(server.log_in("ada", PASSWORD).await.is_err() && server.log_in("ada", NEW_PASSWORD).await.is_ok());
    assert_eq!(refused(accounts(&server).reset_password(reset(&code)).await), Reason::CredentialInvalid);
}

pub(crate) async fn reset_code_that_was_replaced_or_guessed_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let first = reset_code(&server, "ada").await.unwrap();
    let other = reset_code(&server, "root").await.unwrap();
    let second = reset_code(&server, "ada").await.unwrap();
    for code in [&*first, &*other, ""] {
        assert_eq!(refused(accounts(&server).reset_password(reset(code)).await), Reason::CredentialInvalid, "{code}");
    }
    accounts(&server).reset_password(reset(&second)).await.unwrap();
}

pub(crate) async fn reset_code_is_for_persons_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    assert_eq!(refused(reset_code(&server, "gateway").await), Reason::FieldInvalid);
    assert_eq!(refused(reset_code(&server, "nobody").await), Reason::SubjectUnknown);
}

pub(crate) async fn login_takes_a_code_from_the_confirmation_on(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let token = server.token_of("ada").await;
    let enroll = authorized(enrollment(), &token);
    let enrolled = accounts(&server).enroll_second_factor(enroll).await.unwrap().into_inner();
    assert!(enrolled.uri.starts_with("otpauth://totp/ada?secret="), "{}", enrolled.uri);
    assert!(log_in_with(&server, "").await.is_ok(), "not confirmed yet");
    let app = App::of(&enrolled.secret);
    let confirm = ConfirmSecondFactorRequest { totp_code: app.code(0) };
    accounts(&server).confirm_second_factor(authorized(confirm, &token)).await.unwrap();
    assert_eq!(refused(log_in_with(&server, "").await), Reason::SecondFactorRequired);
    assert!(log_in_with(&server, &app.code(1)).await.is_ok());
}

pub(crate) async fn code_that_was_used_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let app = with_second_factor(&server).await;
    let code = app.code(1);
    assert!(log_in_with(&server, &code).await.is_ok());
    assert_eq!(refused(log_in_with(&server, &code).await), Reason::CredentialInvalid);
}

pub(crate) async fn guesses_of_a_code_are_throttled(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let app = with_second_factor(&server).await;
    for _ in 0..5 {
        assert_eq!(refused(log_in_with(&server, "no digits").await), Reason::CredentialInvalid);
    }
    assert_eq!(refused(log_in_with(&server, &app.code(1)).await), Reason::LoginThrottled);
}

pub(crate) async fn password_is_not_changed_without_the_second_factor(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let app = with_second_factor(&server).await;
    assert_eq!(refused(accounts(&server).change_password(change(PASSWORD)).await), Reason::SecondFactorRequired);
    let code = reset_code(&server, "ada").await.unwrap();
    assert_eq!(refused(accounts(&server).reset_password(reset(&code)).await), Reason::SecondFactorRequired);
    let with_code = ResetPasswordRequest { totp_code: app.code(1), ..reset(&code) };
    accounts(&server).reset_password(with_code).await.unwrap();
}

pub(crate) async fn confirmed_second_factor_is_replaced_only_once_it_is_removed(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let app = with_second_factor(&server).await;
    let token = server.token_of("ada").await;
    let enroll = || authorized(enrollment(), &token);
    assert_eq!(refused(accounts(&server).enroll_second_factor(enroll()).await), Reason::FieldInvalid);
    let remove = |totp_code| authorized(RemoveSecondFactorRequest { totp_code }, &token);
    let wrong = accounts(&server).remove_second_factor(remove("000000 ".to_owned())).await;
    assert_eq!(refused(wrong), Reason::CredentialInvalid);
    accounts(&server).remove_second_factor(remove(app.code(1))).await.unwrap();
    assert!(log_in_with(&server, "").await.is_ok());
    assert!(accounts(&server).enroll_second_factor(enroll()).await.is_ok());
}

pub(crate) async fn administrator_drops_a_lost_second_factor(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    with_second_factor(&server).await;
    let drop = || DropSecondFactorRequest { subject: "ada".to_owned(), ..DropSecondFactorRequest::default() };
    let root = server.token_of("root").await;
    let mut admin = AdminServiceClient::new(server.channel.clone());
    admin.drop_second_factor(authorized(drop(), &root)).await.unwrap();
    assert!(log_in_with(&server, "").await.is_ok());
    assert_eq!(refused(admin.drop_second_factor(authorized(drop(), &root)).await), Reason::FieldInvalid);
}

pub(crate) async fn program_has_no_account_to_care_for(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mesh = server.mesh_token().await;
    let enroll = accounts(&server).enroll_second_factor(authorized(enrollment(), &mesh)).await;
    assert_eq!(refused(enroll), Reason::PrincipalKindRefused);
}

pub(crate) async fn person_ends_their_own_logins_and_nobody_elses(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let login = server.log_in("ada", PASSWORD).await.unwrap();
    let list = authorized(ListOwnSessionsRequest {}, &login.access_token);
    let sessions = accounts(&server).list_own_sessions(list).await.unwrap().into_inner().sessions;
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    let end = || EndOwnSessionRequest { session: session.session.clone() };
    let by_root = accounts(&server).end_own_session(authorized(end(), &server.token_of("root").await)).await;
    assert_eq!(refused(by_root), Reason::SubjectUnknown);
    accounts(&server).end_own_session(authorized(end(), &login.access_token)).await.unwrap();
    assert!(!server.is_active(&login.access_token).await);
}

pub(crate) async fn second_factor_is_not_enrolled_with_a_token_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let token = server.token_of("ada").await;
    for _ in 0..5 {
        let request = EnrollSecondFactorRequest { password: "a wrong guess".to_owned() };
        let enrolled = accounts(&server).enroll_second_factor(authorized(request, &token)).await;
        assert_eq!(refused(enrolled), Reason::CredentialInvalid);
    }
    let enrolled = accounts(&server).enroll_second_factor(authorized(enrollment(), &token)).await;
    assert_eq!(refused(enrolled), Reason::LoginThrottled);
}

pub(crate) async fn wrong_reset_codes_lock_nobody_out(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    for _ in 0..20 {
        assert_eq!(refused(accounts(&server).reset_password(reset("a guess")).await), Reason::CredentialInvalid);
    }
    assert!(server.log_in("ada", PASSWORD).await.is_ok());
}

pub(crate) async fn codes_of_a_second_factor_give_no_new_guesses_of_the_password(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let token = server.token_of("ada").await;
    let enrolled = accounts(&server).enroll_second_factor(authorized(enrollment(), &token)).await;
    let app = App::of(&enrolled.unwrap().into_inner().secret);
    for _ in 0..5 {
        assert!(server.log_in("ada", "a wrong guess").await.is_err());
    }
    let confirm = ConfirmSecondFactorRequest { totp_code: app.code(0) };
    accounts(&server).confirm_second_factor(authorized(confirm, &token)).await.unwrap();
    assert_eq!(refused(server.log_in("ada", PASSWORD).await), Reason::LoginThrottled);
}
