//! Cost against the number of Services, both axes logarithmic: a plot for each thing that was measured at several sizes, a
//! line for each mode and number of endpoints.

use anyhow::Context;
use figures::{Figure, Target};
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::prelude::*;

use super::colours::{self, Colour, Colours, hex};
use super::{bound, escape, grouped, number};

const WIDTH: u32 = 520;
const HEIGHT: u32 = 300;
/// Pixels around a point that show its value.
const REACH: u32 = 9;
/// Dashes of what is to be reached, and of what is straight to the pod.
const TARGET: &str = "10 5";
const LIMIT: &str = "2 4";

/// One plot.
#[derive(Debug)]
pub struct Plot<'a> {
    what: &'a str,
    unit: &'a str,
    lines: Vec<Line<'a>>,
    targets: Vec<Target>,
}

/// One line of it.
#[derive(Debug)]
struct Line<'a> {
    mode: Option<&'a str>,
    endpoints: Option<u32>,
    /// Services and values, in ascending order of Services.
    points: Vec<(u32, f64)>,
    /// The same straight to the pod.
    limits: Vec<(u32, f64)>,
}

/// A plot for each thing that has values at two sizes at least, in the order in which they come.
pub fn plots(figures: &[Figure]) -> Vec<Plot<'_>> {
    let mut plots: Vec<Plot<'_>> = Vec::new();
    for figure in figures {
        // There is no place for others on a logarithmic axis; the table has them.
        let Some(services) = figure.services.filter(|services| *services > 0 && figure.value > 0.0) else {
            continue;
        };
        let (what, unit) = (figure.what.as_str(), &*figure.unit);
        let index =
            plots.iter().position(|plot| plot.what == what && plot.unit == unit).unwrap_or_else(|| {
                plots.push(Plot { what, unit, lines: Vec::new(), targets: Vec::new() });
                plots.len() - 1
            });
        plots[index].add(figure, services);
    }
    plots.retain(|plot| plot.lines.iter().any(|line| line.points.len() > 1));
    plots
}

impl<'a> Plot<'a> {
    fn add(&mut self, figure: &'a Figure, services: u32) {
        let (mode, endpoints) = (figure.mode.as_deref(), figure.endpoints);
        let same = |line: &Line<'_>| (line.mode, line.endpoints) == (mode, endpoints);
        let index = self.lines.iter().position(same).unwrap_or_else(|| {
            self.lines.push(Line { mode, endpoints, points: Vec::new(), limits: Vec::new() });
            self.lines.len() - 1
        });
        let line = &mut self.lines[index];
        line.points.push((services, figure.value));
        line.points.sort_unstable_by_key(|(services, _)| *services);
        if let Some(limit) = figure.limit.filter(|limit| *limit > 0.0) {
            line.limits.push((services, limit));
            line.limits.sort_unstable_by_key(|(services, _)| *services);
        }
        if let Some(target) =
            figure.target.filter(|target| target.bound() > 0.0 && !self.targets.contains(target))
        {
            self.targets.push(target);
        }
    }

    /// The plot with its caption and legend.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn figure(&self, colours: &Colours) -> anyhow::Result<String> {
        let unit = if self.unit.is_empty() { String::new() } else { format!(", {}", self.unit) };
        let title = escape(&format!("{}{unit}", self.what));
        let svg = self.draw(colours).with_context(|| format!("cannot draw {}", self.what))?;
        let label = format!("<svg role=\"img\" aria-label=\"{title}, against the number of Services\" ");
        let svg = svg.replacen("<svg ", &label, 1);
        let legend: String = self.legend(colours);
        Ok(format!("<figure><figcaption><b>{title}</b>{legend}</figcaption>\n{svg}</figure>\n"))
    }

    /// Colours are modes, dashes numbers of endpoints.
    fn legend(&self, colours: &Colours) -> String {
        let mut entries: Vec<(String, Stroke)> = Vec::new();
        let mut add = |name: String, colour, dashes| {
            if entries.iter().all(|(known, _)| *known != name) {
                entries.push((name, Stroke { colour, dashes }));
            }
        };
        for line in &self.lines {
            add(line.mode.unwrap_or_default().to_owned(), colours.mode(line.mode), "");
        }
        for line in &self.lines {
            let name = line.endpoints.map(|endpoints| format!("{endpoints} endpoints")).unwrap_or_default();
            add(name, colours.mode(None), self.dashes(line));
        }
        if self.lines.iter().any(|line| !line.limits.is_empty()) {
            add("straight to the pod".to_owned(), colours::LIMIT, LIMIT);
        }
        for target in &self.targets {
            add(format!("target {}", bound(*target)), colours::TARGET, TARGET);
        }
        let named = entries.into_iter().filter(|(name, _)| !name.is_empty());
        named
            .map(|(name, stroke)| {
                let line = stroke.through(&[(1, 6), (28, 6)]);
                format!("<span><svg viewBox=\"0 0 29 12\">{line}</svg>{}</span>", escape(&name))
            })
            .collect()
    }

    /// Lines of fewer endpoints than the most are dashed, so that lines of one mode stay apart.
    fn dashes(&self, line: &Line<'_>) -> &'static str {
        let most = self.lines.iter().filter_map(|line| line.endpoints).max();
        if line.endpoints < most { "6 4" } else { "" }
    }

    /// Axes, ticks and grid are the library's. Its dashes would be a thousand pieces, and its markers without words: both
    /// are added at the places that it computes.
    fn draw(&self, colours: &Colours) -> anyhow::Result<String> {
        let mut svg = String::new();
        let lines = {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
            let (x, y) = (self.services(), self.values());
            let ends = |ticks: &[f64], beyond| ticks[0] / beyond..ticks[ticks.len() - 1] * beyond;
            let text = |size: u32| ("sans-serif", size).into_font().color(&colours::TEXT.light);
            let mut chart = ChartBuilder::on(&root)
                .margin_top(10)
                .margin_right(22)
                .x_label_area_size(50)
                .y_label_area_size(92)
                .build_cartesian_2d(
                    ends(&x, 1.25).log_scale().with_key_points(x.clone()),
                    ends(&y, 1.0).log_scale().with_key_points(y.clone()),
                )?;
            chart
                .configure_mesh()
                .bold_line_style(colours::GRID.light)
                .light_line_style(TRANSPARENT)
                .axis_style(colours::AXIS.light)
                .label_style(text(19))
                .axis_desc_style(text(19))
                .x_desc("Services")
                .x_labels(x.len())
                .y_labels(y.len())
                .x_label_formatter(&|services| grouped(&format!("{services:.0}")))
                .y_label_formatter(&|value| tick(*value))
                .draw()?;
            root.present()?;
            let width = ends(&x, 1.25);
            self.over(
                colours,
                &|services, value| chart.backend_coord(&(services, value)),
                (width.start, width.end),
            )
        };
        Ok(svg.replace("</svg>", &format!("{lines}</svg>")))
    }

    /// Everything but the axes. `place` says where a number of Services and a value are; the axis has two `ends`.
    fn over(&self, colours: &Colours, place: &dyn Fn(f64, f64) -> (i32, i32), ends: (f64, f64)) -> String {
        let places = |points: &[(u32, f64)]| -> Vec<(i32, i32)> {
            points.iter().map(|(services, value)| place(f64::from(*services), *value)).collect()
        };
        let mut text = String::new();
        for target in &self.targets {
            let across = [place(ends.0, target.bound()), place(ends.1, target.bound())];
            text += &Stroke { colour: colours::TARGET, dashes: TARGET }.through(&across);
        }
        for line in self.lines.iter().filter(|line| !line.limits.is_empty()) {
            text += &Stroke { colour: colours::LIMIT, dashes: LIMIT }.through(&places(&line.limits));
        }
        for line in &self.lines {
            let (colour, dashes) = (colours.mode(line.mode), self.dashes(line));
            text += &Stroke { colour, dashes }.through(&places(&line.points));
            let inside = if dashes.is_empty() { colour } else { colours::GROUND };
            for ((x, y), point) in places(&line.points).into_iter().zip(&line.points) {
                text += &format!(
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{}\" stroke=\"{}\" stroke-width=\"2\"/>\n\
                     <circle cx=\"{x}\" cy=\"{y}\" r=\"{REACH}\" opacity=\"0\"><title>{}</title></circle>\n",
                    hex(inside.light),
                    hex(colour.light),
                    escape(&self.words(line, *point)),
                );
            }
        }
        text
    }

    /// What is said of a point.
    fn words(&self, line: &Line<'_>, (services, value): (u32, f64)) -> String {
        let mode = line.mode.map(|mode| format!("{mode}, ")).unwrap_or_default();
        let each = line.endpoints.map(|endpoints| format!(" × {endpoints}")).unwrap_or_default();
        let words =
            format!("{mode}{}{each}: {} {}", grouped(&services.to_string()), number(value), self.unit);
        words.trim_end().to_owned()
    }

    /// The numbers of Services that occur.
    fn services(&self) -> Vec<f64> {
        let mut all: Vec<u32> =
            self.lines.iter().flat_map(|line| &line.points).map(|(services, _)| *services).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(f64::from).collect()
    }

    /// Ticks around all values: powers of ten, and what is between them when there are few.
    fn values(&self) -> Vec<f64> {
        let points = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().chain(&line.limits))
            .map(|(_, value)| *value);
        let all = points.chain(self.targets.iter().map(|target| target.bound()));
        let (least, most) =
            all.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        let (low, high) = (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
        // Powers of ten of finite positive numbers: between -323 and 309.
        let powers = (low as i32..=high as i32).map(|power| 10_f64.powi(power));
        match high - low {
            ..2.5 => powers
                .clone()
                .flat_map(|power| [power, 2.0 * power, 5.0 * power])
                .filter(|tick| *tick <= 10_f64.powf(high))
                .collect(),
            _ => powers.collect(),
        }
    }
}

/// How a line looks.
struct Stroke {
    colour: Colour,
    /// As SVG has them: lengths of dashes and gaps; none for a whole line.
    dashes: &'static str,
}

impl Stroke {
    fn through(&self, places: &[(i32, i32)]) -> String {
        let points: Vec<String> = places.iter().map(|(x, y)| format!("{x},{y}")).collect();
        format!(
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\" points=\"{}\"/>\n",
            hex(self.colour.light),
            self.dashes,
            points.join(" "),
        )
    }
}

/// A tick's number: as many places as it needs.
fn tick(value: f64) -> String {
    let places = (-value.log10().floor()).max(0.0) as usize;
    grouped(&format!("{value:.places$}"))
}
