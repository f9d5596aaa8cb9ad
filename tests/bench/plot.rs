//! One plot: what an answer costs, beside the floor.

use std::fmt::Write;

/// One bar.
pub struct Bar {
    pub name: String,
    /// What it costs, in units of the floor.
    pub ratio: f64,
    /// Whether it is ours.
    pub ours: bool,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 340.0;
const RIGHT: f64 = 80.0;
const TOP: f64 = 56.0;
const STEP: f64 = 26.0;

/// Draws `bars` from the top down, with a line at the floor.
pub fn svg(title: &str, bars: &[Bar]) -> String {
    let height = TOP + STEP * bars.len() as f64 + 34.0;
    let most = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
    let x = |ratio: f64| LEFT + ratio / most * (WIDTH - LEFT - RIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{0}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" fill=\"#222\">{0}</text>\n",
        escaped(title)
    );
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP + STEP * index as f64;
        let colour = if bar.ours { "#2a6fbb" } else { "#b0b7bf" };
        // Writing to a String can't fail.
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#222\">{}</text>\
             <rect x=\"{LEFT:.0}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\" fill=\"#222\">{:.2}</text>",
            LEFT - 8.0,
            y + 14.0,
            escaped(&bar.name),
            x(bar.ratio) - LEFT,
            x(bar.ratio) + 6.0,
            y + 14.0,
            bar.ratio,
        );
    }
    let (line, bottom) = (x(1.0), height - 30.0);
    let _ = writeln!(
        svg,
        "<line x1=\"{line:.1}\" y1=\"{:.0}\" x2=\"{line:.1}\" y2=\"{bottom:.0}\" stroke=\"#c0392b\" stroke-dasharray=\"5 3\"/>\
         <text x=\"{line:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#c0392b\">the floor</text>\n</svg>",
        TOP - 6.0,
        bottom + 16.0,
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
