//! What the help of each command ends with: lines that can be typed.

pub(super) const BOOTSTRAP: &str = "\
Examples:
  The store, its first key and its first admin:
    accord-auth bootstrap ada --config auth.toml --password-file ada.password";

pub(super) const PRINCIPAL: &str = "\
Examples:
  A person with a password and a role:
    accord-auth principal add ada --role catalog-reader --password-file ada.password

  Everybody, for a program:
    accord-auth principal list --output json

  Somebody of another issuer, who logs in as ada:
    accord-auth principal link ada --issuer corp --external 00u1a2b3

  Out, with all tokens revoked:
    accord-auth principal disable ada";

pub(super) const CLIENT: &str = "\
Examples:
  A program with a secret, which is made and written into the file:
    accord-auth client add orders --role catalog-reader --secret-file orders.secret

  Another secret; the earlier one stays valid for an hour:
    accord-auth client rotate orders --secret-file orders.new.secret --overlap 1h

  What is known of it:
    accord-auth client show orders --output json";

pub(super) const API_KEY: &str = "\
Examples:
  A key for a script, narrowed to one permission:
    accord-auth api-key add ada --key-file nightly.key --permission catalog.products.read --lifetime 90days

  The keys of one subject:
    accord-auth api-key list --subject ada --output json

  A successor, beside which the earlier key stays valid for a day:
    accord-auth api-key rotate ak_0123456789abcdef --key-file nightly.new.key";

pub(super) const CERTIFICATE_IDENTITY: &str = "\
Examples:
  Whoever has a certificate of this SPIFFE id acts as `pay`:
    accord-auth certificate-identity add spiffe://example.org/ns/shop/sa/pay pay

  All of them:
    accord-auth certificate-identity list --output json";

pub(super) const RELATION: &str = "\
Examples:
  The owner of a product, for policies that ask for it:
    accord-auth relation add Product/42 owner User/ada --config auth.toml

  All relations to one object:
    accord-auth relation list Product --object Product/42 --output json";

pub(super) const DEVICE: &str = "\
Examples:
  Who asks, for a program:
    accord-auth device list --output json

  It may act for ada, who proves who she is; or it may not:
    accord-auth device approve WDJB-MJHT --name ada --password-file ada.password
    accord-auth device deny WDJB-MJHT";

pub(super) const ROLE: &str = "\
Examples:
  Give a role, and take it away again; either revokes the present tokens:
    accord-auth role grant ada catalog-writer
    accord-auth role remove ada catalog-writer

  All roles, and who holds one:
    accord-auth role list --config auth.toml --output json
    accord-auth role holders catalog-writer --output json";

pub(super) const SESSION: &str = "\
Examples:
  Where somebody is logged in, and one of it ended:
    accord-auth session list ada --output json
    accord-auth session end 0f8fad5bd9cb469fa16570867728950e";

pub(super) const TOKEN: &str = "\
Examples:
  A token for a quarter of an hour:
    accord-auth token issue --subject ada --lifetime 15min

  Every token of somebody is void:
    accord-auth token revoke --subject ada";

pub(super) const KEY: &str = "\
Examples:
  The key that encrypts signing keys in the store:
    accord-auth key new encryption.key

  Another signing key:
    accord-auth key rotate --config auth.toml

  The signing keys, and one of them withdrawn at once, since it is in wrong hands:
    accord-auth key list --output json
    accord-auth key retire dEJZ3kLhVQbnRkDwKT5vGg --config auth.toml

  Another encryption key has taken the place of the one before, and what needs that one still; exit status 1 where something does:
    accord-auth key reseal --config auth.toml --output json";

pub(super) const POLICY: &str = "\
Examples:
  Before policies are deployed:
    accord-auth policy check policies.cedar --output json
    accord-auth policy test cases.toml --policy policies.cedar

  What is in force, and where it comes from:
    accord-auth policy list --config auth.toml --output json
    accord-auth policy show accord-mesh --output json";

pub(super) const AUDIT: &str = "\
Examples:
  Whether anything was changed or left out; exit status 1 where it was:
    accord-auth audit verify --output json

  What came after a row, and what comes:
    accord-auth audit export --after 1200 --follow";

pub(super) const COPY: &str = "\
Examples:
  From one engine to the other:
    accord-auth backup auth.backup --store sqlite:///var/lib/accord/auth.db
    accord-auth restore auth.backup --store postgres://auth@db/auth";

/// The commands below those: lines without a heading.
pub(super) const OF_COMMANDS: [(&str, &str); 58] = [
    ("principal add", "accord-auth principal add ada --role catalog-reader --password-file ada.password"),
    ("principal reset-code", "accord-auth principal reset-code ada"),
    ("principal drop-second-factor", "accord-auth principal drop-second-factor ada"),
    ("principal link", "accord-auth principal link ada --issuer corp --external 00u1a2b3"),
    ("principal unlink", "accord-auth principal unlink ada --issuer corp --external 00u1a2b3"),
    ("principal links", "accord-auth principal links --subject ada --output json"),
    ("principal list", "accord-auth principal list --output json"),
    ("principal show", "accord-auth principal show ada --output json"),
    ("principal disable", "accord-auth principal disable ada"),
    ("principal enable", "accord-auth principal enable ada"),
    ("principal remove", "accord-auth principal remove ada"),
    (
        "client add",
        "accord-auth client add orders --role catalog-reader --secret-file orders.secret\n\
         accord-auth client add mill --role catalog-reader --jwks mill.jwks",
    ),
    (
        "client rotate",
        "accord-auth client rotate orders --secret-file orders.new.secret --overlap 1h\n\
         accord-auth client rotate mill --jwks next.jwks",
    ),
    ("client add-key", "accord-auth client add-key mill --jwk next.jwk"),
    ("client list-keys", "accord-auth client list-keys mill"),
    ("client remove-key", "accord-auth client remove-key mill mill-1"),
    ("client list", "accord-auth client list --output json"),
    ("client show", "accord-auth client show orders --output json"),
    ("client disable", "accord-auth client disable orders"),
    ("client enable", "accord-auth client enable orders"),
    ("client remove", "accord-auth client remove orders"),
    (
        "api-key add",
        "accord-auth api-key add ada --key-file nightly.key --permission catalog.products.read --lifetime 90days",
    ),
    ("api-key list", "accord-auth api-key list --subject ada --output json"),
    ("api-key show", "accord-auth api-key show ak_0123456789abcdef --output json"),
    ("api-key rotate", "accord-auth api-key rotate ak_0123456789abcdef --key-file nightly.new.key --overlap 1h"),
    ("api-key disable", "accord-auth api-key disable ak_0123456789abcdef"),
    ("api-key enable", "accord-auth api-key enable ak_0123456789abcdef"),
    ("api-key remove", "accord-auth api-key remove ak_0123456789abcdef"),
    ("certificate-identity add", "accord-auth certificate-identity add spiffe://example.org/ns/shop/sa/pay pay"),
    ("certificate-identity list", "accord-auth certificate-identity list --output json"),
    ("certificate-identity show", "accord-auth certificate-identity show spiffe://example.org/ns/shop/sa/pay"),
    ("certificate-identity disable", "accord-auth certificate-identity disable spiffe://example.org/ns/shop/sa/pay"),
    ("certificate-identity enable", "accord-auth certificate-identity enable spiffe://example.org/ns/shop/sa/pay"),
    ("certificate-identity remove", "accord-auth certificate-identity remove spiffe://example.org/ns/shop/sa/pay"),
    ("device list", "accord-auth device list --output json"),
    ("device approve", "accord-auth device approve WDJB-MJHT --name ada --password-file ada.password"),
    ("device deny", "accord-auth device deny WDJB-MJHT"),
    ("relation add", "accord-auth relation add Product/42 owner User/ada"),
    ("relation remove", "accord-auth relation remove Product/42 owner User/ada"),
    ("relation list", "accord-auth relation list Product --object Product/42 --output json"),
    ("role grant", "accord-auth role grant ada catalog-writer"),
    ("role remove", "accord-auth role remove ada catalog-writer"),
    ("role list", "accord-auth role list --config auth.toml --output json"),
    ("role holders", "accord-auth role holders catalog-writer --output json"),
    ("session list", "accord-auth session list ada --output json"),
    ("session end", "accord-auth session end 0f8fad5bd9cb469fa16570867728950e"),
    ("token issue", "accord-auth token issue --subject ada --lifetime 15min"),
    ("token revoke", "accord-auth token revoke --subject ada\naccord-auth token revoke --everything"),
    ("key new", "accord-auth key new encryption.key"),
    ("key rotate", "accord-auth key rotate --config auth.toml"),
    ("key list", "accord-auth key list --output json"),
    ("key retire", "accord-auth key retire dEJZ3kLhVQbnRkDwKT5vGg --config auth.toml"),
    ("key reseal", "accord-auth key reseal --config auth.toml --output json"),
    ("policy check", "accord-auth policy check policies.cedar --output json"),
    ("policy list", "accord-auth policy list --config auth.toml --output json"),
    ("policy show", "accord-auth policy show accord-mesh --output json"),
    ("audit verify", "accord-auth audit verify --output json"),
    ("audit export", "accord-auth audit export --after 1200 --follow"),
];
