//! What happened between two looks at the metrics of a cache.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::scrape::Scrape;

/// Between two scrapes.
pub(super) struct Table<'a> {
    before: &'a Scrape,
    now: &'a Scrape,
    seconds: f64,
}

/// Outcomes of reads, as they are called here and in the metric.
const OUTCOMES: [(&str, &str); 6] = [
    ("hit", "hit"),
    ("miss", "uri-miss"),
    ("stale", "stale"),
    ("on request", "request"),
    ("bypass", "bypass"),
    ("not stored", "not-stored"),
];

impl<'a> Table<'a> {
    pub(super) fn between(before: &'a Scrape, now: &'a Scrape, time: Duration) -> Self {
        Self { before, now, seconds: time.as_secs_f64().max(f64::MIN_POSITIVE) }
    }

    /// What a counter grew by in a second. One that was restarted meanwhile began at zero.
    fn rate(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (before, now) = (self.before.sum(name, labels), self.now.sum(name, labels));
        let growth = if now < before { now } else { now - before };
        growth / self.seconds
    }

    fn gauge(&self, name: &str) -> f64 {
        self.now.sum(name, &[])
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bytes, limit] = ["accord_cache_bytes", "accord_cache_bytes_limit"].map(|name| self.gauge(name));
        let entries = self.gauge("accord_cache_entries");
        let gone = |cause| self.rate("accord_cache_removals_total", &[("cause", cause)]);
        let (evicted, replaced, removed) = (gone("evicted"), gone("replaced"), gone("removed"));
        writeln!(
            f,
            "memory      {} of {} ({}), {entries:.0} entries",
            Bytes(bytes),
            Bytes(limit),
            Share(bytes, limit)
        )?;
        writeln!(f, "gone        {evicted:.1}/s evicted   {replaced:.1}/s replaced   {removed:.1}/s removed")
    }

    fn reads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.rate("accord_cache_reads_total", &[]);
        write!(f, "reads       {all:.1}/s")?;
        for (word, outcome) in OUTCOMES {
            let rate = self.rate("accord_cache_reads_total", &[("outcome", outcome)]);
            if rate > 0.0 || outcome == "hit" {
                write!(f, "   {word} {}", Share(rate, all))?;
            }
        }
        let stale = |reason| self.rate("accord_cache_stale_served_total", &[("reason", reason)]);
        let (revalidating, failed) = (stale("revalidating"), stale("origin_failed"));
        writeln!(f, "\nstale       {revalidating:.1}/s while reloaded   {failed:.1}/s for a failed origin")
    }

    fn loads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |labels: &[_]| self.rate("accord_cache_load_duration_seconds_count", labels);
        let (all, failed) = (rate(&[]), rate(&[("result", "failed")]));
        let time = self.rate("accord_cache_load_duration_seconds_sum", &[]);
        let mean = if all > 0.0 { time / all * 1e3 } else { 0.0 };
        let [flights, waiters] = ["accord_cache_flights", "accord_cache_waiters"].map(|name| self.gauge(name));
        writeln!(
            f,
            "loads       {all:.1}/s   failed {}   {mean:.1} ms each   {flights:.0} in flight, {waiters:.0} waiting",
            Share(failed, all)
        )
    }

    fn leases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |name| self.rate(name, &[]);
        let [granted, refused] = [rate("accord_cache_leases_granted_total"), rate("accord_cache_leases_refused_total")];
        let waits = rate("accord_cache_invalidation_wait_duration_seconds_count");
        let flushes = self.gauge("accord_cache_flushes_total");
        writeln!(
            f,
            "leases      {granted:.1}/s granted   {refused:.1}/s refused   {waits:.1}/s writes wait   {flushes:.0} flushes so far"
        )
    }

    /// Nothing where there is no second level.
    fn second_level(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LOOKS: &str = "accord_cache_second_level_lookups_total";
        const WRITES: &str = "accord_cache_second_level_writes_total";
        if self.now.sum(LOOKS, &[]) + self.now.sum(WRITES, &[]) == 0.0 {
            return Ok(());
        }
        let (looks, hits) = (self.rate(LOOKS, &[]), self.rate(LOOKS, &[("outcome", "hit")]));
        let (writes, written) = (self.rate(WRITES, &[]), self.rate(WRITES, &[("outcome", "written")]));
        let (unwritten, hits) = (writes - written, Share(hits, looks));
        let is_up = if self.gauge("accord_cache_second_level_up") > 0.0 { "up" } else { "DOWN" };
        writeln!(
            f,
            "2nd level   {looks:.1}/s looks   hit {hits}   {written:.1}/s written   {unwritten:.1}/s not   {is_up}"
        )
    }

    fn namespace_objects(&self) -> Vec<Value> {
        let object = |name: &str| {
            let own = ("namespace", name);
            let rate = |what: &str| self.rate(&format!("accord_cache_namespace_{what}_total"), &[own]);
            let now = |what: &str| self.now.sum(&format!("accord_cache_namespace_{what}"), &[own]);
            json!({
                "namespace": name,
                "reads_per_s": rate("reads"),
                "hits_per_s": self.rate("accord_cache_namespace_reads_total", &[own, ("outcome", "hit")]),
                "puts_per_s": rate("puts"),
                "loads_per_s": rate("loads"),
                "entries": now("entries"),
                "bytes": now("bytes"),
            })
        };
        self.now.values("accord_cache_namespace_entries", "namespace").into_iter().map(object).collect()
    }

    fn namespaces(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.now.values("accord_cache_namespace_entries", "namespace");
        if names.is_empty() {
            return Ok(());
        }
        let [entries, bytes] = ["entries", "bytes"];
        writeln!(
            f,
            "\n{:<24} {:>9} {:>6} {:>9} {:>9} {entries:>9} {bytes:>10}",
            "namespace", "reads/s", "hit", "puts/s", "loads/s"
        )?;
        for name in names {
            let own = ("namespace", name);
            let [reads, puts, loads] = ["reads", "puts", "loads"]
                .map(|what| self.rate(&format!("accord_cache_namespace_{what}_total"), &[own]));
            let hits = self.rate("accord_cache_namespace_reads_total", &[own, ("outcome", "hit")]);
            let [entries, bytes] =
                [entries, bytes].map(|what| self.now.sum(&format!("accord_cache_namespace_{what}"), &[own]));
            writeln!(
                f,
                "{name:<24} {reads:>9.1} {:>6} {puts:>9.1} {loads:>9.1} {entries:>9.0} {:>10}",
                Share(hits, reads).to_string(),
                Bytes(bytes).to_string()
            )?;
        }
        Ok(())
    }
}

/// For programs: what there is now, and the rates of a second.
impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rate = |name: &str| self.rate(name, &[]);
        let by = |name: &str, label: &str, values: &[&str]| -> Map<String, Value> {
            values.iter().map(|value| ((*value).to_owned(), self.rate(name, &[(label, value)]).into())).collect()
        };
        let outcomes = OUTCOMES.map(|(_, outcome)| outcome);
        let object = json!({
            "seconds": self.seconds,
            "bytes": self.gauge("accord_cache_bytes"),
            "bytes_limit": self.gauge("accord_cache_bytes_limit"),
            "entries": self.gauge("accord_cache_entries"),
            "removals_per_s": by("accord_cache_removals_total", "cause", &["evicted", "replaced", "removed"]),
            "reads_per_s": by("accord_cache_reads_total", "outcome", &outcomes),
            "stale_per_s": by("accord_cache_stale_served_total", "reason", &["revalidating", "origin_failed"]),
            "loads_per_s": by("accord_cache_load_duration_seconds_count", "result", &["ok", "not_found", "failed", "refused"]),
            "load_seconds_per_s": rate("accord_cache_load_duration_seconds_sum"),
            "flights": self.gauge("accord_cache_flights"),
            "waiters": self.gauge("accord_cache_waiters"),
            "leases_granted_per_s": rate("accord_cache_leases_granted_total"),
            "leases_refused_per_s": rate("accord_cache_leases_refused_total"),
            "invalidation_waits_per_s": rate("accord_cache_invalidation_wait_duration_seconds_count"),
            "flushes": self.gauge("accord_cache_flushes_total"),
            "namespaces": self.namespace_objects(),
        });
        object.serialize(serializer)
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.memory(f)?;
        self.reads(f)?;
        self.loads(f)?;
        self.leases(f)?;
        self.second_level(f)?;
        self.namespaces(f)
    }
}

/// A part of a whole, in percent.
struct Share(f64, f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(part, all) if all > 0.0 => write!(f, "{:.1}%", part / all * 100.0),
            _ => f.write_str("-"),
        }
    }
}

/// An amount of memory.
struct Bytes(f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut amount, mut unit) = (self.0, "B");
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if amount < 1024.0 {
                break;
            }
            (amount, unit) = (amount / 1024.0, larger);
        }
        write!(f, "{amount:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "accord_cache_reads_total{outcome=\"hit\"} 100\naccord_cache_reads_total{outcome=\"uri-miss\"} 10\n";
    const NOW: &str = "accord_cache_bytes 1048576\naccord_cache_bytes_limit 4194304\naccord_cache_entries 300\n\
                       accord_cache_reads_total{outcome=\"hit\"} 190\naccord_cache_reads_total{outcome=\"uri-miss\"} 20\n\
                       accord_cache_load_duration_seconds_count{result=\"ok\"} 10\n\
                       accord_cache_load_duration_seconds_sum{result=\"ok\"} 0.2\n\
                       accord_cache_namespace_entries{namespace=\"carts\"} 7\n\
                       accord_cache_namespace_reads_total{namespace=\"carts\",outcome=\"hit\"} 30\n\
                       accord_cache_namespace_reads_total{namespace=\"carts\",outcome=\"miss\"} 10\n";

    fn table(before: &str, now: &str) -> String {
        let [before, now] = [before, now].map(Scrape::parse);
        Table::between(&before, &now, Duration::from_secs(2)).to_string()
    }

    #[test]
    fn table_shows_rates_between_the_two_looks_and_what_is_there_now() {
        let text = table(BEFORE, NOW);
        assert!(text.starts_with("memory      1.0 MiB of 4.0 MiB (25.0%), 300 entries\n"), "{text}");
        assert!(text.contains("reads       50.0/s   hit 90.0%   miss 10.0%\n"), "{text}");
        assert!(text.contains("loads       5.0/s   failed 0.0%   20.0 ms each   0 in flight, 0 waiting\n"), "{text}");
    }

    #[test]
    fn table_for_programs_has_the_same_figures() {
        let [before, now] = [BEFORE, NOW].map(Scrape::parse);
        let object = serde_json::to_value(Table::between(&before, &now, Duration::from_secs(2))).unwrap();
        assert_eq!((&object["entries"], &object["reads_per_s"]["hit"]), (&json!(300.0), &json!(45.0)));
        assert_eq!(object["loads_per_s"], json!({ "ok": 5.0, "not_found": 0.0, "failed": 0.0, "refused": 0.0 }));
        assert_eq!(object["namespaces"][0]["reads_per_s"], json!(20.0));
    }

    #[test]
    fn second_level_has_a_row_where_there_is_one() {
        let now = "accord_cache_second_level_lookups_total{outcome=\"hit\"} 30\n\
                   accord_cache_second_level_lookups_total{outcome=\"absent\"} 10\n\
                   accord_cache_second_level_writes_total{outcome=\"written\"} 8\n\
                   accord_cache_second_level_writes_total{outcome=\"late\"} 2\naccord_cache_second_level_up 1\n";
        let row = "2nd level   20.0/s looks   hit 75.0%   4.0/s written   1.0/s not   up\n";
        let text = table(BEFORE, now);
        assert!(text.contains(row), "{text}");
        assert!(!table(BEFORE, NOW).contains("2nd level"));
    }

    #[test]
    fn namespaces_have_a_row_each() {
        let text = table(BEFORE, NOW);
        let row: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(row, ["carts", "20.0", "75.0%", "0.0", "0.0", "7", "0.0", "B"]);
        assert!(!table(BEFORE, BEFORE).contains("namespace"));
    }

    #[test]
    fn counters_of_a_cache_that_was_restarted_begin_at_zero() {
        let text =
            table("accord_cache_reads_total{outcome=\"hit\"} 1000\n", "accord_cache_reads_total{outcome=\"hit\"} 4\n");
        assert!(text.contains("reads       2.0/s"), "{text}");
    }
}
