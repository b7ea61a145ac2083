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
    accord-auth role remove ada catalog-writer";

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
    accord-auth key rotate --config auth.toml";

pub(super) const POLICY: &str = "\
Examples:
  Before policies are deployed:
    accord-auth policy check policies.cedar --output json
    accord-auth policy test cases.toml --policy policies.cedar";

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
