//! The page that people read: facts of the run, targets that are missed, and for each report its plots and its table. It
//! needs nothing beside itself, and follows the reader's light or dark theme.

mod colours;
mod plot;
mod style;
mod table;
#[cfg(test)]
mod tests;

use figures::{Figure, Report};

use self::colours::Colours;
use crate::whole::{Outcome, Run};

/// The whole page.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn page(run: &Run) -> anyhow::Result<String> {
    let colours = Colours::of(run.figures().filter_map(|figure| figure.mode.as_deref()));
    let mut sections = String::new();
    for (number, one) in run.benchmarks.iter().enumerate() {
        sections += &outcome(number, one, &colours)?;
    }
    let head = head(run);
    let style = style::style();
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>portolan: figures</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n{head}\n<main>\n{sections}</main>\n</body>\n</html>\n"
    ))
}

/// What was measured, where and when; what is missed; where to find what.
fn head(run: &Run) -> String {
    let machine = &run.machine;
    let minutes = (run.seconds / 60.0).round().max(1.0);
    let changed = if run.commit.is_changed { " and changes that are not committed" } else { "" };
    let facts = [
        ("measured", format!("{}, in {minutes} min", run.date.replace('T', " ").trim_end_matches('Z'))),
        ("commit", format!("{}{changed}", run.commit.hash)),
        (
            "machine",
            format!(
                "{}, {} cores, {} MB",
                machine.processor,
                machine.cores,
                grouped(&machine.memory.to_string())
            ),
        ),
        ("system", format!("{}, Linux {}, {}", machine.system, machine.kernel, machine.compiler)),
        ("load before", format!("{}", machine.load_before)),
        (
            "asked for",
            if run.arguments.is_empty() { "everything".to_owned() } else { run.arguments.join(" ") },
        ),
    ];
    let facts: String = facts
        .iter()
        .map(|(name, fact)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(fact)))
        .collect();
    let reports = run.benchmarks.iter().flat_map(|outcome| &outcome.reports);
    let links: String =
        reports.map(|report| format!("<a href=\"#{0}\">{0}</a>", escape(&report.name))).collect();
    format!(
        "<header>\n<h1>portolan: figures</h1>\n<dl>{facts}</dl>\n{}<nav>{links}</nav>\n</header>",
        verdict(run)
    )
}

/// How many targets are met; each one that is not; each benchmark that failed.
fn verdict(run: &Run) -> String {
    let with_target = run.figures().filter(|figure| figure.target.is_some()).count();
    let mut lines = String::new();
    for (number, outcome) in run.benchmarks.iter().enumerate() {
        if outcome.failure.is_some() {
            let name = escape(&outcome.name());
            lines +=
                &format!("<li><a href=\"#failure-{number}\">{name}</a> <b class=\"missed\">failed</b></li>");
        }
        for report in &outcome.reports {
            let missed = report.figures.iter().filter(|figure| figure.is_missed());
            lines.extend(missed.map(|figure| missing(&escape(&report.name), figure)));
        }
    }
    let missed = run.figures().filter(|figure| figure.is_missed()).count();
    let class = if lines.is_empty() { "met" } else { "missed" };
    let met = with_target - missed;
    let count =
        format!("<p class=\"verdict\"><b class=\"{class}\">{met} of {with_target}</b> targets met.</p>\n");
    match lines.is_empty() {
        true => count,
        false => format!(
            "{count}<details open><summary>What is missed</summary><ul class=\"missing\">{lines}</ul></details>\n"
        ),
    }
}

/// A figure that misses its target, as an entry of a list.
fn missing(report: &str, figure: &Figure) -> String {
    let target = figure.target.map(bound).unwrap_or_default();
    let (words, value, unit) = (escape(&words(figure)), number(figure.value), escape(&figure.unit));
    format!(
        "<li><a href=\"#{report}\">{report}</a> {words}: <b class=\"missed\">{value} {unit}</b> ({target})</li>"
    )
}

/// What one process found, and why it failed.
fn outcome(number: usize, outcome: &Outcome, colours: &Colours) -> anyhow::Result<String> {
    let mut text = String::new();
    for report in &outcome.reports {
        text += &self::report(report, colours)?;
    }
    if let Some(failure) = &outcome.failure {
        text += &format!(
            "<section id=\"failure-{number}\">\n<h2>{} <b class=\"missed\">failed</b></h2>\n<pre>{}</pre>\n</section>\n",
            escape(&outcome.name()),
            escape(failure)
        );
    }
    Ok(text)
}

fn report(report: &Report, colours: &Colours) -> anyhow::Result<String> {
    let (name, title) = (escape(&report.name), escape(&report.title));
    let mut text = format!("<section id=\"{name}\">\n<h2>{name}</h2>\n<h3>{title}</h3>\n");
    let plots = plot::plots(&report.figures);
    if !plots.is_empty() {
        text += "<div class=\"plots\">\n";
        for plot in &plots {
            text += &plot.figure(colours)?;
        }
        text += "</div>\n";
    }
    text += &table::table(&report.figures);
    if !report.notes.is_empty() {
        let notes: String = report.notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
        text += &format!("<ul class=\"notes\">{notes}</ul>\n");
    }
    Ok(text + "</section>\n")
}

/// What a figure is of, with mode and size.
fn words(figure: &Figure) -> String {
    let size = match (figure.services, figure.endpoints) {
        (Some(services), Some(endpoints)) => format!("{} × {endpoints}", grouped(&services.to_string())),
        _ => String::new(),
    };
    let parts = [figure.what.as_str(), figure.mode.as_deref().unwrap_or_default(), &size];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// `≤ 2`.
fn bound(target: figures::Target) -> String {
    let relation = match target {
        figures::Target::AtMost(_) => '≤',
        figures::Target::AtLeast(_) => '≥',
    };
    format!("{relation}\u{a0}{}", grouped(&target.bound().to_string()))
}

/// Three digits or so, thousands apart.
fn number(value: f64) -> String {
    grouped(&figures::short(value))
}

/// The digits before the point in threes.
fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    rest.map_or(text.clone(), |rest| format!("{text}.{rest}"))
}

/// Text as it is written in HTML, also in an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
