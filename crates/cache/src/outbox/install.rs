//! What the outbox is in the database: a table, a cursor, two sequences, a function and four triggers for each table.
//!
//! Triggers are for statements, not rows: one row of the outbox says what a statement changed, however many rows that were.
//! Functions run as who installed them (SECURITY DEFINER), so that writers of a table need no right on the outbox.

use accord_readthrough::Tag;

use super::config::{OutboxConfig, TableConfig};
use super::template::{Part, Template};

/// What a statement may name one by one; beyond, its row invalidates everything.
const MOST_NAMES: usize = 256;

/// Longest of them, as JSON.
const LONGEST: usize = 1024;

/// Where readers listen.
pub(super) const CHANNEL: &str = "accord_outbox";

/// Triggers of a table.
pub(super) const TRIGGERS: [(&str, &str); 4] = [
    ("accord_outbox_insert", "INSERT ON %s REFERENCING NEW TABLE AS new_rows"),
    ("accord_outbox_update", "UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    ("accord_outbox_delete", "DELETE ON %s REFERENCING OLD TABLE AS old_rows"),
    ("accord_outbox_truncate", "TRUNCATE ON %s"),
];

/// How an outbox is installed.
#[derive(Clone, Copy, Debug)]
pub struct Installation<'a> {
    /// The outbox.
    pub outbox: &'a OutboxConfig,
    /// The role that reads it, if it is another than the one that installs it.
    pub reader: Option<&'a str>,
}

/// The statements that install it, or bring it up to date. They are one transaction.
pub fn install_statements(Installation { outbox, reader }: Installation<'_>) -> Vec<String> {
    let mut statements = vec!["SET LOCAL lock_timeout = '5s'".to_owned()];
    statements.extend(tables(outbox));
    statements.push(write_function(outbox));
    statements.push(drop_functions(outbox, Some(&outbox.table)));
    for table in &outbox.table {
        statements.push(table_function(outbox, table));
        statements.push(triggers(outbox, table));
    }
    statements.extend(reader.into_iter().flat_map(|reader| grants(outbox, reader)));
    statements
}

/// The statements that take it away, triggers first. They are one transaction.
pub fn uninstall_statements(outbox: &OutboxConfig) -> Vec<String> {
    let schema = name(&outbox.schema);
    vec![
        "SET LOCAL lock_timeout = '5s'".to_owned(),
        drop_functions(outbox, None),
        format!("DROP FUNCTION IF EXISTS {schema}.accord_outbox_write(jsonb, jsonb, boolean)"),
        format!("DROP TABLE IF EXISTS {schema}.accord_outbox, {schema}.accord_outbox_cursor"),
        format!("DROP SEQUENCE IF EXISTS {schema}.accord_outbox_numbers, {schema}.accord_outbox_floor"),
    ]
}

/// A name in SQL.
pub(super) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text in SQL.
pub(super) fn text(text: &str) -> String {
    // Whatever standard_conforming_strings is, a backslash stands for itself here.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The function of a table.
pub(super) fn function(table: &TableConfig) -> String {
    format!("accord_outbox_{:016x}", Tag::named(&table.name).to_bits())
}

fn tables(outbox: &OutboxConfig) -> [String; 5] {
    let (schema, most) = (name(&outbox.schema), outbox.max_rows);
    [
        format!(
            "CREATE TABLE IF NOT EXISTS {schema}.accord_outbox (
    number bigint PRIMARY KEY,
    transaction xid8 NOT NULL,
    written timestamptz NOT NULL,
    flush boolean NOT NULL,
    tags jsonb NOT NULL,
    keys jsonb NOT NULL
)"
        ),
        format!("CREATE SEQUENCE IF NOT EXISTS {schema}.accord_outbox_numbers"),
        format!("CREATE SEQUENCE IF NOT EXISTS {schema}.accord_outbox_floor MINVALUE 0 START 0"),
        format!(
            "CREATE TABLE IF NOT EXISTS {schema}.accord_outbox_cursor (
    id integer PRIMARY KEY CHECK (id = 1),
    number bigint NOT NULL,
    flush_after bigint,
    timeline text NOT NULL,
    holder text NOT NULL,
    held_until timestamptz NOT NULL,
    read_at timestamptz NOT NULL,
    max_rows bigint NOT NULL,
    floor bigint NOT NULL DEFAULT 0
)"
        ),
        format!(
            "INSERT INTO {schema}.accord_outbox_cursor (id, number, timeline, holder, held_until, read_at, max_rows)
    VALUES (1, 0, '', '', '-infinity', clock_timestamp(), {most})
    ON CONFLICT (id) DO UPDATE SET max_rows = excluded.max_rows"
        ),
    ]
}

/// Takes a number and writes a row. The transaction has its id before its number: who sees a higher number knows of it. How far the
/// outbox was read is in a sequence, which every transaction sees as it is now; where that is too far away, the number alone says
/// that there was something.
fn write_function(outbox: &OutboxConfig) -> String {
    let (schema, most) = (name(&outbox.schema), outbox.max_rows);
    let notify = if outbox.notify { format!("\n    PERFORM pg_notify('{CHANNEL}', '');") } else { String::new() };
    format!(
        "CREATE OR REPLACE FUNCTION {schema}.accord_outbox_write(tags jsonb, keys jsonb, flush boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $accord$
DECLARE
    transaction xid8 := pg_current_xact_id();
    number bigint := nextval('{schema}.accord_outbox_numbers');
    floor bigint;
BEGIN
    SELECT last_value INTO floor FROM {schema}.accord_outbox_floor;
    IF number - floor <= {most} THEN
        INSERT INTO {schema}.accord_outbox VALUES (number, transaction, clock_timestamp(), flush, tags, keys);
    END IF;{notify}
END
$accord$;
REVOKE ALL ON FUNCTION {schema}.accord_outbox_write(jsonb, jsonb, boolean) FROM PUBLIC"
    )
}

/// Drops the functions of tables, and with them their triggers, but for those that are configured.
fn drop_functions(outbox: &OutboxConfig, keep: Option<&[TableConfig]>) -> String {
    let keep = keep.unwrap_or_default().iter().map(|table| text(&function(table))).collect::<Vec<_>>().join(", ");
    let schema = text(&outbox.schema);
    format!(
        "DO $accord$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = {schema} AND p.proname ~ '^accord_outbox_[0-9a-f]{{16}}$' AND p.proname <> ALL (ARRAY[{keep}]::text[])
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', f);
    END LOOP;
END
$accord$"
    )
}

/// What the statement that fires it changed.
fn table_function(outbox: &OutboxConfig, table: &TableConfig) -> String {
    let (schema, function) = (name(&outbox.schema), name(&function(table)));
    let arms = [("INSERT", &["new_rows"][..]), ("UPDATE", &["old_rows", "new_rows"]), ("DELETE", &["old_rows"])];
    let arms = arms.map(|(event, rows)| format!("    ELSIF TG_OP = '{event}' THEN\n{}", gather(table, rows)));
    format!(
        "CREATE OR REPLACE FUNCTION {schema}.{function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $accord$
DECLARE
    tags jsonb;
    keys jsonb;
    flush boolean;
BEGIN
    -- {marker}
    IF TG_OP = 'TRUNCATE' THEN
{truncated}{arms}    END IF;
    IF flush THEN
        PERFORM {schema}.accord_outbox_write('[]', '[]', true);
    ELSIF tags <> '[]' OR keys <> '[]' THEN
        PERFORM {schema}.accord_outbox_write(tags, keys, false);
    END IF;
    RETURN NULL;
END
$accord$;
REVOKE ALL ON FUNCTION {schema}.{function}() FROM PUBLIC",
        marker = marker(outbox, table),
        truncated = truncated(table),
        arms = arms.concat(),
    )
}

/// What tells the function of this configuration from others.
pub(super) fn marker(outbox: &OutboxConfig, table: &TableConfig) -> String {
    let of = format!("{:?} {} {}", table, outbox.max_rows, outbox.notify);
    format!("accord {:016x}", Tag::named(&of).to_bits())
}

/// What is named without a column is known; of all else, any row may have been there.
fn truncated(table: &TableConfig) -> String {
    let templates: Vec<_> = table.tags.iter().filter_map(|tag| Template::parse(tag).ok()).collect();
    let is_known = table.key.is_empty() && templates.iter().all(|template| template.columns().next().is_none());
    let tags = templates.iter().map(|template| format!("jsonb_build_array({})", pieces(template)));
    let tags = if is_known { tags.collect::<Vec<_>>().join(", ") } else { String::new() };
    format!("        tags := jsonb_build_array({tags});\n        keys := '[]';\n        flush := {};\n", !is_known)
}

/// Gathers what these rows name, each once.
fn gather(table: &TableConfig, rows: &[&str]) -> String {
    let tags = table.tags.iter().filter_map(|tag| Template::parse(tag).ok());
    let tags = tags.map(|tag| (format!("jsonb_build_array({})", pieces(&tag)), columns(tag.columns())));
    let keys = table.key.iter().filter_map(|key| {
        let template = Template::parse(&key.key).ok()?;
        let tenant = key.tenant.as_ref().map_or_else(|| "NULL::text".to_owned(), |it| format!("r.{}::text", name(it)));
        let of = format!("jsonb_build_array({}, {tenant}, concat({}))", text(&key.namespace), pieces(&template));
        Some((of, columns(template.columns().chain(key.tenant.as_deref()))))
    });
    let (tags, keys) = (named(&tags.collect::<Vec<_>>(), rows), named(&keys.collect::<Vec<_>>(), rows));
    format!(
        "        SELECT coalesce(jsonb_agg(named.it), '[]'), coalesce(bool_or(named.is_long), false) OR count(*) > {MOST_NAMES}
            INTO tags, flush FROM ({tags}) AS named;
        SELECT coalesce(jsonb_agg(named.it), '[]'), flush OR coalesce(bool_or(named.is_long), false) OR count(*) > {MOST_NAMES}
            INTO keys, flush FROM ({keys}) AS named;
"
    )
}

fn named(of: &[(String, String)], rows: &[&str]) -> String {
    let each = of.iter().flat_map(|(it, is_there)| {
        rows.iter().map(move |rows| format!("SELECT {it} AS it FROM {rows} AS r WHERE {is_there}"))
    });
    let all = each.collect::<Vec<_>>().join(" UNION ");
    let all = if all.is_empty() { "SELECT NULL::jsonb AS it WHERE false".to_owned() } else { all };
    let most = MOST_NAMES + 1;
    format!("SELECT u.it, octet_length(u.it::text) > {LONGEST} AS is_long FROM ({all}) AS u LIMIT {most}")
}

/// A row without one of the columns has no such tag or key.
fn columns<'a>(columns: impl Iterator<Item = &'a str>) -> String {
    let there: Vec<_> = columns.map(|column| format!("r.{} IS NOT NULL", name(column))).collect();
    if there.is_empty() { "true".to_owned() } else { there.join(" AND ") }
}

/// Literals and values by turns, the first of them a literal.
fn pieces(template: &Template) -> String {
    let mut pieces = Vec::new();
    for part in template.parts() {
        let is_literal_next = pieces.len() % 2 == 0;
        match part {
            Part::Literal(literal) if is_literal_next => pieces.push(format!("{}::text", text(literal))),
            // Two literals never follow one another.
            Part::Literal(_) => {}
            Part::Column(column) => {
                if is_literal_next {
                    pieces.push("''::text".to_owned());
                }
                pieces.push(format!("r.{}::text", name(column)));
            }
        }
    }
    pieces.join(", ")
}

/// The triggers, on the table and on all of its partitions: a statement that names one fires no trigger of the others.
fn triggers(outbox: &OutboxConfig, table: &TableConfig) -> String {
    let (schema, table_name) = table.parts().unwrap_or_default();
    let of = text(&format!("{}.{}", name(schema), name(table_name)));
    let function = format!("{}.{}", name(&outbox.schema), name(&function(table)));
    let each = TRIGGERS.map(|(trigger, event)| {
        let made = format!("CREATE TRIGGER {trigger} AFTER {event} FOR EACH STATEMENT EXECUTE FUNCTION {function}()");
        format!(
            "        EXECUTE format({}, t);\n        EXECUTE format({}, t);\n        EXECUTE format({}, t);\n",
            text(&format!("DROP TRIGGER IF EXISTS {trigger} ON %s")),
            text(&made),
            text(&format!("ALTER TABLE %s ENABLE ALWAYS TRIGGER {trigger}")),
        )
    });
    format!(
        "DO $accord$
DECLARE t regclass;
BEGIN
    FOR t IN SELECT {of}::regclass UNION SELECT relid FROM pg_partition_tree({of}::regclass) LOOP
{}    END LOOP;
END
$accord$",
        each.concat()
    )
}

/// What reading takes, and nothing of the tables themselves.
fn grants(outbox: &OutboxConfig, reader: &str) -> [String; 5] {
    let (schema, reader) = (name(&outbox.schema), name(reader));
    [
        format!("GRANT USAGE ON SCHEMA {schema} TO {reader}"),
        format!("GRANT SELECT, DELETE ON {schema}.accord_outbox TO {reader}"),
        format!("GRANT SELECT, UPDATE ON {schema}.accord_outbox_cursor TO {reader}"),
        format!("GRANT SELECT ON SEQUENCE {schema}.accord_outbox_numbers TO {reader}"),
        format!("GRANT SELECT, UPDATE ON SEQUENCE {schema}.accord_outbox_floor TO {reader}"),
    ]
}
