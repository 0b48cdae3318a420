//! The figures as a picture: a Scalable Vector Graphic of bars.
//!
//! It brings its own background, so that it can be read on a light page and on a dark one.

use std::fmt::Write as _;

use super::budget::{BUDGETS, Judged, State, number};
use super::figure::{Figure, Spread};

/// Widths in pixels: of the names, of the bars, of the numbers behind them, and around all.
const NAMES: f64 = 390.0;
const BARS: f64 = 380.0;
const NUMBERS: f64 = 260.0;
const MARGIN: f64 = 20.0;
/// Heights in pixels: of a row, of the bar in it, and of what stands above the rows.
const ROW: f64 = 24.0;
const BAR: f64 = 12.0;
const HEAD: f64 = 76.0;
/// What of the scale lies beyond its mark, at least.
const BEYOND: f64 = 1.15;
/// A bar that would be longer than this many times the mark is cut off.
const LONGEST: f64 = 2.5;

/// Dark enough on white, and different without colours: light, dark.
const GOOD: &str = "#5b9bd5";
const BAD: &str = "#c0504d";
const INK: &str = "#1f2328";
/// Which part of a text stands at its place.
const START: &str = "start";
const MIDDLE: &str = "middle";
const END: &str = "end";

/// One bar.
#[derive(Debug)]
struct Row {
    name: String,
    /// Length of the bar; 1 is at the mark.
    value: f64,
    /// Tenth and ninetieth percentile.
    spread: Option<(f64, f64)>,
    /// A mark of its own.
    budget: Option<f64>,
    good: bool,
    text: String,
}

/// Rows below a title, with a line down all of them at 1.
#[derive(Debug)]
struct Panel {
    title: String,
    /// How to read it.
    legend: &'static str,
    mark: &'static str,
    rows: Vec<Row>,
}

/// The whole picture.
pub(crate) fn svg(figures: &[Figure], judged: &[Judged], peer: &str) -> String {
    let panels = [beside(figures, peer), budgets(judged)];
    let width = MARGIN + NAMES + BARS + NUMBERS + MARGIN;
    let height: f64 = MARGIN + panels.iter().map(Panel::height).sum::<f64>();
    let mut body = String::new();
    let mut top = MARGIN;
    for panel in &panels {
        panel.draw(&mut body, top);
        top += panel.height();
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"DejaVu Sans, Verdana, Helvetica, sans-serif\" font-size=\"12\">\n\
         <title>Portcullis beside {peer}, and its budgets</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n{body}</svg>\n",
        peer = escaped(peer)
    )
}

/// Ratios to the peer.
fn beside(figures: &[Figure], peer: &str) -> Panel {
    let rows = figures.iter().filter_map(|figure| {
        let (ratio, there) = (figure.ratio?, figure.peer?);
        let budget = BUDGETS
            .iter()
            .find(|budget| budget.measure == figure.measure);
        let budget = budget.and_then(|budget| budget.ratio());
        let pair = [figure.ours, there].map(|side: Spread| number(side.median));
        let unit = if figure.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", figure.unit)
        };
        let promised = budget.map_or_else(String::new, |limit| format!("; budget {limit}"));
        Some(Row {
            name: figure.measure.clone(),
            value: ratio.median,
            spread: Some((ratio.low, ratio.high)),
            budget,
            good: ratio.median <= 1.0,
            text: format!(
                "{} ({}{unit}){promised}",
                number(ratio.median),
                pair.join(" : ")
            ),
        })
    });
    Panel {
        title: format!("Portcullis, all checks on, over {peer} with none: shorter is better"),
        legend: "Bar: ratio of the medians. Thin line: p10 to p90 of the rounds. Thick mark: budget. \
                 Red: more than the peer.",
        mark: "as much as the peer",
        rows: rows.collect(),
    }
}

/// Shares of the budgets.
fn budgets(judged: &[Judged]) -> Panel {
    let rows = judged.iter().filter_map(|one| {
        let found = one.found.split(" (").next().unwrap_or_default();
        Some(Row {
            name: one.promise(),
            value: one.share?,
            spread: None,
            budget: None,
            good: one.state == State::Met,
            text: format!("{found} of {}", one.limit),
        })
    });
    Panel {
        title: "Budgets: what is used of each".to_owned(),
        legend: "Bar: median. Red: not met.",
        mark: "budget",
        rows: rows.collect(),
    }
}

// === impl Panel ===

impl Panel {
    fn height(&self) -> f64 {
        let rows = u32::try_from(self.rows.len()).unwrap_or_default();
        HEAD + f64::from(rows) * ROW + MARGIN
    }

    /// Pixels for 1.
    fn scale(&self) -> f64 {
        let longest = self.rows.iter().flat_map(|row| {
            let high = row.spread.map_or(row.value, |(_, high)| high);
            [row.value, high, row.budget.unwrap_or_default()]
        });
        BARS / longest.fold(BEYOND, f64::max).min(LONGEST)
    }

    fn draw(&self, body: &mut String, top: f64) {
        let (scale, left) = (self.scale(), MARGIN + NAMES);
        let at = |value: f64| left + (value * scale).clamp(0.0, BARS);
        let (first, mark) = (top + HEAD, at(1.0));
        let bottom = top + self.height() - MARGIN;
        let bold = "font-weight=\"bold\" font-size=\"14\"";
        text(body, (MARGIN, top + 16.0), START, bold, &self.title);
        text(body, (MARGIN, top + 34.0), START, "", self.legend);
        text(body, (mark, first - 8.0), MIDDLE, "", self.mark);
        line(body, (left, first - 4.0), (left, bottom), "");
        let dashed = "stroke-dasharray=\"4 3\"";
        line(body, (mark, first - 4.0), (mark, bottom), dashed);
        let mut middle = first + ROW / 2.0;
        for row in &self.rows {
            row.draw(body, middle, at);
            middle += ROW;
        }
    }
}

// === impl Row ===

impl Row {
    /// Draws it around the height `middle`; `at` gives the place of a value.
    fn draw(&self, body: &mut String, middle: f64, at: impl Fn(f64) -> f64) {
        let (left, end) = (at(0.0), MARGIN + NAMES + BARS);
        let (length, top) = (at(self.value) - left, middle - BAR / 2.0);
        let colour = if self.good { GOOD } else { BAD };
        text(body, (left - 8.0, middle + 4.0), END, "", &self.name);
        add(
            body,
            format_args!(
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n"
            ),
        );
        if let Some((low, high)) = self.spread {
            line(body, (at(low), middle), (at(high), middle), "");
            for edge in [low, high].map(&at) {
                line(body, (edge, middle - 3.0), (edge, middle + 3.0), "");
            }
        }
        if let Some(place) = self.budget.map(&at) {
            let half = ROW / 2.0 - 2.0;
            let thick = "stroke-width=\"3\"";
            line(body, (place, middle - half), (place, middle + half), thick);
        }
        // What is cut off ends in an arrow.
        if self.value > 0.0 && at(self.value) < left + self.value * (at(1.0) - left) - 0.1 {
            text(
                body,
                (end - 4.0, middle + 4.0),
                END,
                "font-weight=\"bold\"",
                "\u{2192}",
            );
        }
        text(body, (end + 10.0, middle + 4.0), START, "", &self.text);
    }
}

fn line(body: &mut String, from: (f64, f64), to: (f64, f64), more: &str) {
    add(
        body,
        format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{INK}\" {more}/>\n",
            from.0, from.1, to.0, to.1
        ),
    );
}

fn text(body: &mut String, at: (f64, f64), anchor: &str, more: &str, words: &str) {
    let words = escaped(words);
    add(
        body,
        format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{INK}\" {more}>{words}</text>\n",
            at.0, at.1
        ),
    );
}

fn add(body: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = body.write_fmt(element);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::svg;
    use crate::bench::budget::judge;
    use crate::bench::figure::Figure;
    use serde_json::json;

    fn figures() -> Vec<Figure> {
        let samples = [
            json!({"measure": "'ctr run --rm true'", "unit": "ms", "ours": [9.0], "peer": [10.0]}),
            json!({"measure": "a < b & c", "unit": "ms", "ours": [90.0], "peer": [10.0]}),
            json!({"measure": "hook process, whole", "unit": "ms", "ours": [2.0], "peer": null}),
        ];
        samples.iter().filter_map(Figure::read).collect()
    }

    fn attribute(element: &str, name: &str) -> f64 {
        let rest = element.split(&format!(" {name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }

    #[test]
    fn bars_are_as_long_as_their_ratios_and_stay_inside() {
        let figures = figures();
        let picture = svg(&figures, &judge(&figures, true), "the-peer");
        let bars: Vec<&str> = picture
            .lines()
            .filter(|line| line.contains("height=\"12\""))
            .collect();
        // Two ratios; two promises of which figures are there.
        assert_eq!(bars.len(), 4, "{picture}");
        let widths: Vec<f64> = bars.iter().map(|bar| attribute(bar, "width")).collect();
        // 9 is cut off at 2.5, which is as long as bars are.
        assert!((widths[1] - super::BARS).abs() < 0.1, "{widths:?}");
        assert!(
            (widths[0] - super::BARS * 0.9 / 2.5).abs() < 0.1,
            "{widths:?}"
        );
        let (width, height) = (attribute(&picture, "width"), attribute(&picture, "height"));
        for element in picture.lines().filter(|line| line.contains(" x=\"")) {
            assert!(
                attribute(element, "x") < width && attribute(element, "y") < height,
                "{element}"
            );
        }
    }

    #[test]
    fn it_is_well_formed_and_says_what_it_shows() {
        let figures = figures();
        let picture = svg(&figures, &judge(&figures, true), "the-peer");
        for words in [
            "'ctr run --rm true'",
            "a &lt; b &amp; c",
            "budget 0.85",
            "2.00 of 3 ms",
            "the-peer",
        ] {
            assert!(picture.contains(words), "{words}: {picture}");
        }
        let (opened, closed) = (
            picture.matches("<text").count(),
            picture.matches("</text>").count(),
        );
        assert_eq!(opened, closed);
        assert!(
            picture.ends_with("</svg>\n") && !picture.contains("NaN"),
            "{picture}"
        );
    }
}
