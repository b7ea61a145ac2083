//! The metrics of a cache at a moment, read from its admin port.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a cache may take to say what it does, and how much it may say.
const WAIT_BUDGET: Duration = Duration::from_secs(5);
const LONGEST: u64 = 16 << 20;

/// Samples of Prometheus' text format, with their labels as they stand there.
#[derive(Debug, Default)]
pub(super) struct Scrape(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Scrape {
    /// Of the cache with this admin port.
    pub(super) async fn of(url: &Uri) -> anyhow::Result<Self> {
        let text = timeout(WAIT_BUDGET, fetch(url)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let text = text.with_context(|| {
            format!("{url} can't be asked; give the URL of a cache's admin port, http://HOST:PORT (`admin.address`)")
        })?;
        let answer = text.split_once("\r\n\r\n");
        let answer = answer.filter(|(head, _)| head.split(' ').nth(1) == Some("200"));
        let (_, body) = answer.with_context(|| format!("{url} does not answer with metrics"))?;
        let scrape = Self::parse(body);
        ensure!(
            scrape.has("accord_cache_entries"),
            "{url} is not the admin port of a cache: it shows no `accord_cache_entries`"
        );
        Ok(scrape)
    }

    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Sample::parse).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    /// The sum of all samples with this name and all of these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample, (key, value): &(&str, &str)| sample.label(key).is_some_and(|found| found == *value);
        let found = self.0.iter().filter(|sample| sample.name == name && labels.iter().all(|label| has(sample, label)));
        // Not `sum`: of nothing, that is -0.
        found.fold(0.0, |sum, sample| sum + sample.value)
    }

    /// What a label says in samples of this name.
    pub(super) fn values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        self.0.iter().filter(|sample| sample.name == name).filter_map(|sample| sample.label(label)).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let end = line.find(['{', ' ']).filter(|_| !line.starts_with('#'))?;
        let (name, rest) = line.split_at(end);
        let (labels, value) = rest.strip_prefix('{').map_or(Some(("", rest)), |rest| rest.rsplit_once('}'))?;
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), labels: labels.to_owned(), value })
    }

    /// What is between the quotes: names of namespaces and of outcomes have none to escape.
    fn label(&self, key: &str) -> Option<&str> {
        let mut pairs = self.labels.split("\",").filter_map(|pair| pair.split_once("=\""));
        pairs.find(|(found, _)| *found == key).map(|(_, value)| value.trim_end_matches('"'))
    }
}

/// The answer as it comes, by HTTP/1.0: nothing is framed in it, and it ends with the connection.
async fn fetch(url: &Uri) -> io::Result<String> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "it is no http URL with a host");
    let authority =
        url.authority().filter(|_| url.scheme_str().is_none_or(|scheme| scheme == "http")).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let mut stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nhost: {authority}\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP reads_total Reads\nreads_total{outcome=\"hit\",node=\"a b\"} 7\nreads_total{outcome=\"stale\"} 2\n\
                        entries 12\nkeys_total{namespace=\"carts\"} 1e3 1700000000\n";

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let scrape = Scrape::parse(TEXT);
        let sum = |name, labels: &[(&str, &str)]| scrape.sum(name, labels).to_string();
        assert_eq!(sum("reads_total", &[]), "9");
        assert_eq!(sum("reads_total", &[("outcome", "hit")]), "7");
        assert_eq!(sum("reads_total", &[("node", "a b")]), "7");
        assert_eq!(sum("entries", &[]), "12");
        assert_eq!(sum("keys_total", &[("namespace", "carts")]), "1000");
        assert_eq!(sum("read", &[]), "0");
    }

    #[test]
    fn values_of_a_label_are_those_of_its_name() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.values("reads_total", "outcome").into_iter().collect::<Vec<_>>(), ["hit", "stale"]);
        assert!(scrape.values("entries", "namespace").is_empty());
    }

    #[tokio::test]
    async fn url_of_something_else_is_an_error_with_a_remedy() {
        let nobody = Scrape::of(&Uri::from_static("http://127.0.0.1:1")).await.unwrap_err();
        assert!(nobody.to_string().contains("give the URL of a cache's admin port"), "{nobody}");
        let secure = Scrape::of(&Uri::from_static("https://127.0.0.1:1")).await.unwrap_err();
        assert!(format!("{secure:#}").contains("no http URL"), "{secure:#}");
    }
}
