# Her password, and the configuration that auth has.
echo a-password-of-hers >password
cp .accord/config/auth.toml auth.toml
# Somebody who may see the console.
accord-auth principal add otto --role accord-admin --role operator --if-absent
TOKEN=$(accord-auth token issue --subject otto)
