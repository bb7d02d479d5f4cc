//! A colour for each mode, in the light and in the dark theme.
//!
//! Plots are drawn in the light theme's colours; the style sheet replaces each by the dark theme's. So no two roles may
//! have the same colour in the light theme.

use std::collections::BTreeMap;

use plotters::style::RGBColor;

/// A colour in both themes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// On a light ground.
    pub light: RGBColor,
    /// On a dark ground.
    pub dark: RGBColor,
}

/// Words and numbers at the axes.
pub const TEXT: Colour = Colour { light: RGBColor(0x55, 0x54, 0x50), dark: RGBColor(0xb9, 0xb8, 0xb1) };
/// Lines at each tick.
pub const GRID: Colour = Colour { light: RGBColor(0xe6, 0xe5, 0xde), dark: RGBColor(0x33, 0x33, 0x31) };
/// The axes.
pub const AXIS: Colour = Colour { light: RGBColor(0xbd, 0xbc, 0xb3), dark: RGBColor(0x55, 0x55, 0x52) };
/// What is to be reached.
pub const TARGET: Colour = Colour { light: RGBColor(0xc2, 0x2e, 0x2e), dark: RGBColor(0xf0, 0x7c, 0x74) };
/// Straight to the pod.
pub const LIMIT: Colour = Colour { light: RGBColor(0x86, 0x85, 0x7f), dark: RGBColor(0x8f, 0x8e, 0x88) };
/// The ground of the page, inside of markers.
pub const GROUND: Colour = Colour { light: RGBColor(0xfc, 0xfc, 0xfa), dark: RGBColor(0x1b, 0x1b, 0x1a) };
/// Lines that belong to no mode.
const PLAIN: Colour = Colour { light: RGBColor(0x2f, 0x2e, 0x2b), dark: RGBColor(0xf0, 0xef, 0xe9) };

/// Lines of modes, in this order; they stay apart for readers with the usual colour blindnesses.
const MODES: [Colour; 6] = [
    Colour { light: RGBColor(0x2a, 0x78, 0xd6), dark: RGBColor(0x4d, 0x97, 0xee) },
    Colour { light: RGBColor(0xe0, 0x62, 0x2b), dark: RGBColor(0xe8, 0x73, 0x41) },
    Colour { light: RGBColor(0x15, 0x9a, 0x6c), dark: RGBColor(0x27, 0xb5, 0x83) },
    Colour { light: RGBColor(0x5b, 0x48, 0xb8), dark: RGBColor(0x9c, 0x90, 0xee) },
    Colour { light: RGBColor(0xd8, 0x94, 0x05), dark: RGBColor(0xd9, 0x9a, 0x1c) },
    Colour { light: RGBColor(0xd4, 0x5f, 0x92), dark: RGBColor(0xe0, 0x6c, 0x9c) },
];

/// The modes that always come first, so that a mode looks the same in most runs.
const FIRST: [&str; 5] = ["nftables", "iptables", "ipvs", "userspace", "ebpf"];

/// Which mode has which colour.
#[derive(Debug)]
pub struct Colours(BTreeMap<String, Colour>);

impl Colours {
    /// For all modes that occur.
    pub fn of<'a>(modes: impl Iterator<Item = &'a str>) -> Self {
        let rank = |mode: &str| FIRST.iter().position(|first| mode.starts_with(first)).unwrap_or(FIRST.len());
        let mut modes: Vec<(usize, &str)> = modes.map(|mode| (rank(mode), mode)).collect();
        modes.sort_unstable();
        modes.dedup();
        Self(
            modes
                .iter()
                .zip(MODES.iter().cycle())
                .map(|((_, mode), colour)| ((*mode).to_owned(), *colour))
                .collect(),
        )
    }

    /// A mode's; that of lines that belong to none.
    pub fn mode(&self, mode: Option<&str>) -> Colour {
        mode.and_then(|mode| self.0.get(mode)).copied().unwrap_or(PLAIN)
    }

    /// Every colour that a plot may have.
    pub fn all() -> impl Iterator<Item = Colour> {
        [TEXT, GRID, AXIS, TARGET, LIMIT, GROUND, PLAIN].into_iter().chain(MODES)
    }
}

/// `#2A78D6`, as plots have it.
pub fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
