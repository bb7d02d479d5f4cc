//! The style sheet.

use super::colours::{Colours, hex};

const SHEET: &str = include_str!("style.css");

/// The sheet, and for the dark theme every colour of the plots replaced.
pub fn style() -> String {
    let dark: String = Colours::all()
        .map(|colour| {
            let (light, dark) = (hex(colour.light), hex(colour.dark));
            format!("  svg [stroke=\"{light}\"] {{ stroke: {dark} }}\n  svg [fill=\"{light}\"] {{ fill: {dark} }}\n")
        })
        .collect();
    format!("{SHEET}@media (prefers-color-scheme: dark) {{\n{dark}}}\n")
}
