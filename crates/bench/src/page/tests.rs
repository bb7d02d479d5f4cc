use figures::{Figure, Target};

use super::*;
use crate::whole::tests::example;

#[test]
fn the_page_has_every_figure_every_failure_and_marks_what_is_missed() {
    let page = page(&example()).expect("a page");
    assert_eq!(page.matches("<figure>").count(), 1, "one thing has several sizes");
    assert_eq!(page.matches("<td class=\"missed\">").count(), 2);
    for expected in [
        "2 of 4</b> targets met",
        "rest &lt;&amp;&gt;",
        "iptables stops at 10,000 &lt;because&gt;",
        "exit status: 101\nthread panicked",
        "10,000 × 10",
        "<small>straight 0.25</small>",
        "0123456789ab and changes that are not committed",
        "<title>nftables, 10,000 × 10: 0.75 ms</title>",
    ] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = page(&example()).expect("a page");
    // The name of SVG's namespace is no address that is asked for.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["<script", "http:", "https:", "@import", "url(", "<link", "<img"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_plot_is_of_things_with_several_sizes_and_a_line_of_a_mode_and_endpoints() {
    let figure =
        |what: &str, services, endpoints, value| Figure::new(what, value, "ms").beside(services, endpoints);
    let figures = [
        figure("one", 100, 2, 1.0),
        figure("one", 100, 10, 1.0),
        figure("two", 1000, 2, 2.0).mode("ipvs"),
        figure("two", 100, 2, 3.0).mode("ipvs"),
        figure("two", 100, 2, 4.0).mode("nftables").target(Target::AtMost(5.0)),
        figure("none", 100, 2, 0.0),
        figure("none", 1000, 2, 0.0),
    ];
    let plots = plot::plots(&figures);
    assert_eq!(plots.len(), 1, "{plots:?}");
    let plot = plots[0].figure(&Colours::of(["ipvs", "nftables"].into_iter())).expect("drawn");
    for expected in [">ipvs<", ">nftables<", ">2 endpoints<", "target ≤\u{a0}5", "two, ms", "1,000"] {
        assert!(plot.contains(expected), "{expected} is not in {plot}");
    }
    assert!(!plot.contains("straight to the pod"));
}

#[test]
fn every_colour_of_a_plot_has_one_for_the_dark_theme() {
    let page = page(&example()).expect("a page");
    let style = page.split("</style>").next().expect("a style");
    for attribute in ["stroke=\"#", "fill=\"#"] {
        for part in page.split("</style>").nth(1).expect("a body").split(attribute).skip(1) {
            let rule = format!("[{attribute}{}\"]", part.split('"').next().expect("a colour"));
            assert!(style.contains(&rule), "{rule}");
        }
    }
    let mut light: Vec<String> = Colours::all().map(|colour| colours::hex(colour.light)).collect();
    let count = light.len();
    light.sort();
    light.dedup();
    assert_eq!(light.len(), count, "no two roles have one colour");
}

#[test]
fn numbers_are_grouped() {
    for (value, text) in
        [(1.0, "1.00"), (999.0, "999"), (1000.0, "1,000"), (-1_234_567.0, "-1,234,567"), (0.05, "0.050")]
    {
        assert_eq!(number(value), text);
    }
}
