//! Draws the charts of a report as SVG files, which stay sharp at any size and need no fonts on this machine.
//!
//! | file | shows | when |
//! |---|---|---|
//! | `over-time.svg` | throughput and latency for each second, with the stages in sequence | always |
//! | `over-load.svg` | throughput and latency of each stage over its load | there are several stages |

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use plotters::{
    coord::{
        Shift,
        combinators::IntoLogRange,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
};
use thiserror::Error;

use crate::{
    report::{Report, StageReport},
    stats::Quantiles,
};

/// A chart that cannot be written to its file.
#[derive(Debug, Error)]
#[error("{}: {reason}: name another folder for the plots", path.display())]
pub struct PlotError {
    path: PathBuf,
    reason: String,
}

const SIZE: (u32, u32) = (1_040, 780);
const TITLE_PIXELS: u32 = 74;
/// Approximate width of a letter of a curve's name, in pixels. The font of the viewer decides the exact width.
const LETTER_PIXELS: i32 = 7;
const INK: RGBColor = RGBColor(31, 41, 55);
const FAINT_INK: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(229, 231, 235);
const UNMEASURED: RGBColor = RGBColor(246, 247, 249);
const GREY: RGBColor = RGBColor(156, 163, 175);
const BLUE: RGBColor = RGBColor(37, 99, 235);
const ORANGE: RGBColor = RGBColor(217, 119, 6);
const PURPLE: RGBColor = RGBColor(147, 51, 234);
const RED: RGBColor = RGBColor(220, 38, 38);

/// A line of a chart, with a name.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    /// Width of the line in pixels.
    width: u32,
    has_dots: bool,
    /// Points of the line. `None` where there is no value: the line has a gap there.
    points: Vec<(f64, Option<f64>)>,
}

impl Curve {
    fn new(name: &'static str, colour: RGBColor, points: impl Iterator<Item = (f64, Option<f64>)>) -> Self {
        Self { name, colour, width: 2, has_dots: false, points: points.collect() }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.points.iter().filter_map(|(_, y)| *y)
    }
}

/// A panel of a chart: two axes and what is drawn between them.
struct Panel<'a> {
    title: &'a str,
    x_title: &'a str,
    x: Range<f64>,
    /// Ranges of the x axis that were not measured.
    shaded: Vec<Range<f64>>,
    /// Labels above the panel, each at the x value where it belongs.
    marks: Vec<(f64, String)>,
    curves: Vec<Curve>,
}

type Failed = Box<dyn std::error::Error>;

/// Draws the charts of a report into a folder, which is created if it is missing. Returns the paths of the files.
///
/// Errors: [`PlotError`] when the folder or a file cannot be written, or a chart cannot be drawn.
pub fn plot(report: &Report, folder: &Path) -> Result<Vec<PathBuf>, PlotError> {
    let failed = |path: &Path, reason: String| PlotError { path: path.to_owned(), reason };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error.to_string()))?;
    let mut pictures = vec![("over-time.svg", over_time(report))];
    if report.stages.len() > 1 {
        pictures.push(("over-load.svg", over_load(report)));
    }
    let write = |(name, svg): (&str, Result<String, Failed>)| {
        let path = folder.join(name);
        let svg = svg.map_err(|error| failed(&path, error.to_string()))?;
        fs::write(&path, svg).map_err(|error| failed(&path, error.to_string()))?;
        Ok(path)
    };
    pictures.into_iter().map(write).collect()
}

/// Draws throughput and latency for each second.
fn over_time(report: &Report) -> Result<String, Failed> {
    let (mut rows, mut shaded, mut marks, mut offset) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    let is_closed = report.stages.iter().any(|stage| stage.window.is_some());
    for stage in &report.stages {
        if report.stages.len() > 1 {
            marks.push((
                offset,
                number(stage.window.map_or(stage.rate_per_s.unwrap_or_default(), |window| window as f64)),
            ));
        }
        for second in &stage.seconds {
            let at = offset + second.at_s as f64;
            // The last second was cut off by the end of the stage, so its throughput would look too small.
            if second.due > 0 || second.at_s < last_of(stage) {
                rows.push((at + 0.5, second));
            }
            if !second.is_measured {
                shaded.push(at..at + 1.0);
            }
        }
        offset += last_of(stage) as f64 + 1.0;
        // The gap keeps the line of one stage apart from the line of the next.
        if let Some(last) = stage.seconds.last().filter(|_| report.stages.len() > 1) {
            rows.push((f64::NAN, last));
        }
    }
    let points = |value: &dyn Fn(&crate::SecondReport) -> Option<f64>| {
        let point = |(x, second): &(f64, &crate::SecondReport)| (*x, if x.is_nan() { None } else { value(second) });
        rows.iter().map(point).collect::<Vec<_>>().into_iter()
    };
    let mut throughput = vec![
        // Nothing is due after the last transaction was sent.
        Curve::new(
            if is_closed { "sent" } else { "due" },
            GREY,
            points(&|second| Some(second.due as f64).filter(|due| *due > 0.0)),
        ),
        Curve::new("committed everywhere", BLUE, points(&|second| Some(second.committed as f64))),
    ];
    throughput[1].width = 3;
    if rows.iter().any(|(_, second)| second.failed > 0) {
        throughput.push(Curve::new("failed, by due time", RED, points(&|second| Some(second.failed as f64))));
    }
    let latency = vec![
        Curve::new("slowest", GREY, points(&|second| second.max_ms)),
        Curve::new("99 of 100 within", ORANGE, points(&|second| second.p99_ms)),
        Curve::new("half within", BLUE, points(&|second| second.p50_ms)),
    ];
    let x = 0.0..offset.max(1.0);
    let panels = [
        Panel {
            title: "Throughput, transactions / s",
            x_title: "",
            x: x.clone(),
            shaded: shaded.clone(),
            marks,
            curves: throughput,
        },
        Panel {
            title: latency_title(is_closed),
            x_title: match (report.stages.len(), is_closed) {
                (0 | 1, _) => "seconds since the load began (shaded: not measured)",
                (_, false) => "seconds of load (shaded: not measured; above: requested transactions / s)",
                (_, true) => "seconds of load (shaded: not measured; above: transactions under way)",
            },
            x,
            shaded,
            marks: vec![],
            curves: latency,
        },
    ];
    picture("over time", report, &panels, false)
}

/// Returns the number of a stage's last second.
fn last_of(stage: &StageReport) -> u64 {
    stage.seconds.last().map_or(0, |last| last.at_s)
}

fn latency_title(is_closed: bool) -> &'static str {
    if is_closed {
        "Latency in ms, from sending to every validator's commit"
    } else {
        "Latency in ms, from due time to every validator's commit"
    }
}

/// Draws throughput and latency for each stage.
fn over_load(report: &Report) -> Result<String, Failed> {
    let stages = &report.stages;
    let is_closed = stages.iter().any(|stage| stage.window.is_some());
    let load = |stage: &StageReport| stage.window.map_or(stage.offered_per_s, |window| window as f64);
    let points = |value: &dyn Fn(&StageReport) -> Option<f64>| {
        stages.iter().map(|stage| (load(stage), value(stage))).collect::<Vec<_>>().into_iter()
    };
    let dotted = |mut curve: Curve| {
        curve.has_dots = true;
        curve
    };
    let latency = |value: fn(&Quantiles) -> Option<f64>| points(&move |stage| value(&stage.everywhere));
    let mut throughput =
        vec![dotted(Curve::new("committed everywhere", BLUE, points(&|stage| Some(stage.committed_per_s))))];
    if !is_closed {
        throughput.insert(0, Curve::new("due", GREY, points(&|stage| Some(stage.offered_per_s))));
    }
    let latency = vec![
        dotted(Curve::new("999 of 1000 within", PURPLE, latency(|of| of.p999_ms))),
        dotted(Curve::new("99 of 100 within", ORANGE, latency(|of| of.p99_ms))),
        dotted(Curve::new("half within", BLUE, latency(|of| of.p50_ms))),
    ];
    let loads = || stages.iter().map(load);
    let (least, most) = (loads().fold(f64::MAX, f64::min), loads().fold(0.0, f64::max).max(1.0));
    let x = if is_closed { (least * 0.9).max(0.5)..most * 1.1 } else { 0.0..most * 1.04 };
    let x_title = if is_closed { "transactions under way, logarithmic" } else { "offered: valid transactions due / s" };
    let panels = [
        Panel {
            title: "Throughput, transactions / s",
            x_title: "",
            x: x.clone(),
            shaded: vec![],
            marks: vec![],
            curves: throughput,
        },
        Panel { title: latency_title(is_closed), x_title, x, shaded: vec![], marks: vec![], curves: latency },
    ];
    picture("over the load", report, &panels, is_closed)
}

/// Draws two panels below a title. The second panel has a logarithmic y axis.
fn picture(what: &str, report: &Report, panels: &[Panel<'_>; 2], is_x_log: bool) -> Result<String, Failed> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (title, body) = root.split_vertically(TITLE_PIXELS);
        let plan = &report.plan;
        let nodes = report.nodes.len();
        title.draw(&Text::new(format!("Load on {}, {what}", report.chain_id), (24, 20), font(22, INK)))?;
        let subtitle = format!(
            "{nodes} validator{}, {}, {} senders, {} cores on the generator's machine",
            if nodes == 1 { "" } else { "s" },
            if plan.mode == "closed" {
                "closed loop".to_owned()
            } else {
                format!("{} with {} arrivals", if plan.mode == "open" { "open loop" } else { "sweep" }, plan.arrivals)
            },
            number(f64::from(plan.senders)),
            report.cores
        );
        title.draw(&Text::new(subtitle, (24, 50), font(13, FAINT_INK)))?;
        let areas = body.split_evenly((2, 1));
        draw(&areas[0], &panels[0], false, is_x_log)?;
        draw(&areas[1], &panels[1], true, is_x_log)?;
        root.present()?;
    }
    Ok(svg)
}

/// Returns a font whose letters are `pixels` high. The library divides a font's size by 1.24 when it writes it.
fn font(pixels: u32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", f64::from(pixels) * 1.24).into_font().color(&colour)
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    panel: &Panel<'_>,
    is_y_log: bool,
    is_x_log: bool,
) -> Result<(), Failed> {
    let values = || panel.curves.iter().flat_map(Curve::values).filter(|value| value.is_finite());
    let most = values().fold(0.0, f64::max);
    let least = values().filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
    let linear_y = || RangedCoordf64::from(0.0..if most > 0.0 { most * 1.12 } else { 1.0 });
    let log_y = || {
        let least = if least < f64::MAX { least } else { 1.0 };
        let range = least * 0.8..(most * 1.3).max(least * 4.0);
        let ticks = ticks(&range);
        range.log_scale().with_key_points(ticks)
    };
    let log_x = |range: Range<f64>| {
        let ticks = ticks(&range);
        range.log_scale().with_key_points(ticks)
    };
    let x = panel.x.clone();
    match (is_x_log, is_y_log) {
        (false, false) => panel.draw_in(area, x, linear_y()),
        (false, true) => panel.draw_in(area, x, log_y()),
        (true, false) => panel.draw_in(area, log_x(x), linear_y()),
        (true, true) => panel.draw_in(area, log_x(x), log_y()),
    }
}

impl Panel<'_> {
    fn draw_in<X, Y>(&self, area: &DrawingArea<SVGBackend<'_>, Shift>, x: X, y: Y) -> Result<(), Failed>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin_left(18)
            .margin_right(28)
            .margin_top(36)
            .margin_bottom(8)
            .set_label_area_size(LabelAreaPosition::Left, 56)
            .set_label_area_size(LabelAreaPosition::Bottom, if self.x_title.is_empty() { 30 } else { 52 })
            .build_cartesian_2d(x, y)?;
        area.draw(&Text::new(self.title.to_owned(), (24, 8), font(15, INK)))?;
        let y_range = chart.y_range();
        let shade =
            |x: &Range<f64>| Rectangle::new([(x.start, y_range.start), (x.end, y_range.end)], UNMEASURED.filled());
        chart.draw_series(self.shaded.iter().map(shade))?;
        let mark = |(x, text): &(f64, String)| Text::new(text.clone(), (*x, y_range.end), font(12, FAINT_INK));
        chart.draw_series(self.marks.iter().map(mark))?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT_INK)
            .label_style(font(12, FAINT_INK))
            .axis_desc_style(font(12, FAINT_INK))
            .x_desc(self.x_title)
            .x_labels(12)
            .y_labels(7)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        for curve in &self.curves {
            let style = ShapeStyle { color: curve.colour.to_rgba(), filled: true, stroke_width: curve.width };
            for part in curve.points.split(|(_, y)| y.is_none()) {
                let points: Vec<(f64, f64)> = part.iter().filter_map(|(x, y)| Some((*x, (*y)?))).collect();
                // A single point is no line, so it is drawn as a dot.
                if curve.has_dots || points.len() == 1 {
                    chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, style)))?;
                }
                chart.draw_series(LineSeries::new(points, style))?;
            }
        }
        self.draw_names(area)
    }

    /// Draws the names of the curves beside the panel's title, where they cover nothing.
    fn draw_names(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failed> {
        let mut right = SIZE.0 as i32 - 28;
        for curve in self.curves.iter().rev() {
            right -= curve.name.chars().count() as i32 * LETTER_PIXELS;
            area.draw(&Text::new(curve.name, (right, 10), font(12, INK)))?;
            area.draw(&Rectangle::new([(right - 26, 15), (right - 8, 18)], curve.colour.filled()))?;
            right -= 26 + 18;
        }
        Ok(())
    }
}

/// Returns the multiples 1, 2 and 5 of each power of ten in a range; only the multiple 1 if the range is large.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = (range.end / range.start).log10();
    let steps: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
    all.filter(|tick| range.contains(tick)).collect()
}

/// Formats a number with a thin space between thousands, and with a fraction only if it is less than 10.
fn number(value: f64) -> String {
    let whole = value.round();
    if (value - whole).abs() > 1e-6 && value.abs() < 10.0 {
        return format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{whole:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left % 3 == 0 && digit.is_ascii_digit() && !text.ends_with('-') {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        let texts = [0.0, 0.5, 0.25, 7.0, 12.4, 999.0, 1_000.0, 1_234_567.0].map(number);
        assert_eq!(texts, ["0", "0.5", "0.25", "7", "12", "999", "1\u{2009}000", "1\u{2009}234\u{2009}567"]);
    }

    #[test]
    fn logarithmic_axes_have_round_ticks() {
        let near = |range, expected: &[f64]| {
            let ticks = ticks(&range);
            assert_eq!(ticks.len(), expected.len(), "{ticks:?}");
            assert!(ticks.iter().zip(expected).all(|(got, expected)| (got / expected - 1.0).abs() < 1e-9), "{ticks:?}");
        };
        near(30.0..600.0, &[50.0, 100.0, 200.0, 500.0]);
        near(0.4..2.5, &[0.5, 1.0, 2.0]);
        near(0.5..50_000.0, &[1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
    }
}
