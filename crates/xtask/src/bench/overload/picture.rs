//! The figures as a picture: goodput and latency over offered load, readable on light and dark ground.

use std::fmt::Write;

use super::Point;

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 58.0;
const BETWEEN: f64 = 70.0;
/// Where the scale of offered load ends.
const MOST_OFFERED: f64 = 4.0;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #333 } .small { font-size: 10px } .axis { stroke: #888; fill: none } \
.grid { stroke: #8884; fill: none } .limited { stroke: #0b6fb8; fill: none; stroke-width: 2 } \
.unlimited { stroke: #c4521a; fill: none; stroke-width: 2; stroke-dasharray: 6 4 } \
.dot.limited { fill: #0b6fb8 } .dot.unlimited { fill: #c4521a; stroke-dasharray: none } \
@media (prefers-color-scheme: dark) { text { fill: #ddd } .limited { stroke: #5cb3f0 } .unlimited { stroke: #f2935c } \
.dot.limited { fill: #5cb3f0 } .dot.unlimited { fill: #f2935c } }";

/// One of the two diagrams.
struct Diagram<'a> {
    left: f64,
    title: &'a str,
    unit: &'a str,
    /// The scale of what is shown: where it ends, and how far its lines are apart.
    most: f64,
    step: f64,
    value: fn(&Point) -> f64,
}

/// Both diagrams, with a line for each curve.
pub(super) fn draw(title: &str, limited: &[Point], unlimited: &[Point]) -> String {
    let milliseconds = |point: &Point| point.outcomes.percentile(99).as_secs_f64() * 1e3;
    let goodput = Diagram {
        left: LEFT,
        title: "goodput: answers within the deadline",
        unit: "of capacity",
        most: 1.2,
        step: 0.2,
        value: |point| point.goodput,
    };
    let latency = Diagram {
        left: LEFT + WIDTH + BETWEEN,
        title: "p99 of these answers",
        unit: "ms",
        most: 500.0,
        step: 100.0,
        value: milliseconds,
    };
    let (width, height) = (latency.left + WIDTH + 20.0, TOP + HEIGHT + 48.0);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>An upstream \
         under overload</title>\n<style>{STYLE}</style>\n"
    );
    for (index, (class, name)) in
        [("limited", "with the adaptive limit"), ("unlimited", "without it")].into_iter().enumerate()
    {
        let left = LEFT + if index == 0 { 0.0 } else { 190.0 };
        line(&mut picture, class, &[(left, 14.0), (left + 28.0, 14.0)]);
        text(&mut picture, "", "start", left + 34.0, 18.0, name);
    }
    for diagram in [goodput, latency] {
        diagram.ground(&mut picture);
        diagram.curve(&mut picture, "unlimited", unlimited);
        diagram.curve(&mut picture, "limited", limited);
    }
    text(&mut picture, "small", "start", LEFT, height - 6.0, title);
    picture.push_str("</svg>\n");
    picture
}

impl Diagram<'_> {
    fn at(&self, offered: f64, value: f64) -> (f64, f64) {
        let x = self.left + WIDTH * offered / MOST_OFFERED;
        (x, TOP + HEIGHT * (1.0 - (value / self.most).min(1.0)))
    }

    fn ground(&self, picture: &mut String) {
        text(picture, "", "start", self.left, TOP - 14.0, &format!("{}, {}", self.title, self.unit));
        let mut value = 0.0;
        while value <= self.most + self.step / 2.0 {
            let (left, y) = self.at(0.0, value);
            line(picture, "grid", &[(left, y), (left + WIDTH, y)]);
            let shown = if self.step < 1.0 { format!("{value:.1}") } else { format!("{value:.0}") };
            text(picture, "small", "end", left - 6.0, y + 4.0, &shown);
            value += self.step;
        }
        for offered in [0.0, 1.0, 2.0, 3.0, 4.0] {
            let (x, bottom) = self.at(offered, 0.0);
            text(picture, "small", "middle", x, bottom + 14.0, &format!("{offered:.0}"));
        }
        let (left, bottom) = self.at(0.0, 0.0);
        line(picture, "axis", &[(left, TOP), (left, bottom), (left + WIDTH, bottom)]);
        text(picture, "small", "end", left + WIDTH, bottom + 28.0, "offered load, in capacities");
    }

    fn curve(&self, picture: &mut String, class: &str, points: &[Point]) {
        // Without one answer there is no time to show.
        let shown = points.iter().filter(|point| point.outcomes.good() > 0.0 || self.step < 1.0);
        let places: Vec<_> = shown.map(|point| self.at(point.offered, (self.value)(point))).collect();
        line(picture, class, &places);
        for (x, y) in places {
            let _ = writeln!(picture, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
        }
    }
}

fn line(picture: &mut String, class: &str, places: &[(f64, f64)]) {
    let places: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(picture, "<polyline class=\"{class}\" points=\"{}\"/>", places.join(" "));
}

fn text(picture: &mut String, class: &str, anchor: &str, x: f64, y: f64, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        picture,
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{escaped}</text>"
    );
}
