# An administrator, who may see who owns a product, and somebody who is to be locked out.
accord-auth principal add zita --role accord-admin --role registrar
accord-auth principal add zoe
TOKEN=$(accord-auth token issue --subject zita)
