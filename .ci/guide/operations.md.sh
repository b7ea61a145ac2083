# Somebody who may be told what was decided.
accord-auth principal add olaf --role accord-admin --role operator --role catalog-reader
TOKEN=$(accord-auth token issue --subject olaf)
