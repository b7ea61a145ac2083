//! Metrics as Prometheus shows them.

use crate::{Kind, Label, Metric};

impl Metric {
    /// Its name in Prometheus: with underscores, its unit, and `_total` where it counts. Buckets, sum and count of a histogram are
    /// behind it.
    pub fn shown(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            // What is only annotated, as `{call}`, is not shown.
            _ => "",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", underscored(self.name))
    }

    /// Its description without the targets of links, as it is shown beside its series.
    pub fn help(&self) -> String {
        let mut help = String::new();
        let mut rest = self.description;
        while let Some((before, link)) = rest.split_once('[') {
            help.push_str(before);
            let Some((text, (_, behind))) =
                link.split_once("](").and_then(|(text, target)| Some((text, target.split_once(')')?)))
            else {
                return help + "[" + link;
            };
            help.push_str(text);
            rest = behind;
        }
        help + rest
    }
}

impl Label {
    /// Its name in Prometheus.
    pub fn shown(&self) -> String {
        underscored(self.name)
    }
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(kind: Kind, unit: &'static str, description: &'static str) -> Metric {
        Metric { name: "a.b_c", kind, unit, description, labels: &[] }
    }

    #[test]
    fn name_in_prometheus_has_unit_and_total() {
        let shown = |kind, unit| metric(kind, unit, "").shown();
        assert_eq!(shown(Kind::Counter, ""), "a_b_c_total");
        assert_eq!(shown(Kind::Counter, "s"), "a_b_c_seconds_total");
        assert_eq!(shown(Kind::Gauge, "By"), "a_b_c_bytes");
        assert_eq!(shown(Kind::Histogram, "s"), "a_b_c_seconds");
        assert_eq!(shown(Kind::Gauge, "{call}"), "a_b_c");
    }

    #[test]
    fn help_has_the_text_of_links_and_no_targets() {
        let help = |description| metric(Kind::Gauge, "", description).help();
        assert_eq!(help("of [a link](page.md#there), and [another](b.md)"), "of a link, and another");
        assert_eq!(help("of no [link"), "of no [link");
    }
}
