//! A report's figures as a table: a row for each thing and mode, a column for each size.

use figures::Figure;

use super::{bound, escape, grouped, number};

/// Services and endpoints of each; none where a figure has no size.
type Size = Option<(u32, u32)>;

fn size(figure: &Figure) -> Size {
    Some((figure.services?, figure.endpoints?))
}

/// What a row is of.
fn row(figure: &Figure) -> (&str, &str, Option<&str>) {
    (&figure.what, &figure.unit, figure.mode.as_deref())
}

/// The table; nothing where there are no figures.
pub fn table(figures: &[Figure]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    // Those without a size come first.
    let mut sizes: Vec<Size> = figures.iter().map(size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let with_modes = figures.iter().any(|figure| figure.mode.is_some());
    let mut rows: Vec<(&str, &str, Option<&str>)> = Vec::new();
    for figure in figures {
        if !rows.contains(&row(figure)) {
            rows.push(row(figure));
        }
    }
    // All modes of one thing stand together, in the order in which each was first seen.
    let first = |what: &str| figures.iter().position(|figure| figure.what == what);
    rows.sort_by_key(|(what, ..)| first(what));
    let head: String = sizes.iter().map(|size| format!("<th>{}</th>", title(*size))).collect();
    let mode = if with_modes { "<th class=\"mode\">mode</th>" } else { "" };
    let head = match (sizes.as_slice(), with_modes) {
        ([None], false) => String::new(),
        _ => format!("<thead><tr><th></th>{mode}{head}</tr></thead>\n"),
    };
    let mut text = format!("<div class=\"scroll\"><table>\n{head}<tbody>\n");
    let mut before = None;
    for key @ (what, unit, mode) in rows {
        let is_same = before == Some((what, unit));
        before = Some((what, unit));
        let what = if is_same { String::new() } else { named(what, unit) };
        text += if is_same { "<tr class=\"same\">" } else { "<tr>" };
        text += &format!("<th>{what}</th>");
        if with_modes {
            text += &format!("<th class=\"mode\">{}</th>", escape(mode.unwrap_or_default()));
        }
        for column in &sizes {
            let figure = figures.iter().rfind(|figure| row(figure) == key && size(figure) == *column);
            text += &figure.map_or("<td></td>".to_owned(), cell);
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
}

fn title(size: Size) -> String {
    size.map_or(String::new(), |(services, endpoints)| {
        format!("{} × {endpoints}", grouped(&services.to_string()))
    })
}

fn named(what: &str, unit: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(unit)) };
    escape(what) + &unit
}

/// The value, its target below, and what it is straight to the pod.
fn cell(figure: &Figure) -> String {
    let missed = if figure.is_missed() { " class=\"missed\"" } else { "" };
    let mut text = format!("<td{missed}><b>{}</b>", number(figure.value));
    if let Some(target) = figure.target {
        let (class, mark) = if figure.is_missed() { ("target", "missed") } else { ("target met", "✓") };
        text += &format!("<small class=\"{class}\">{} {mark}</small>", bound(target));
    }
    if let Some(limit) = figure.limit {
        text += &format!("<small>straight {}</small>", number(limit));
    }
    text + "</td>"
}
