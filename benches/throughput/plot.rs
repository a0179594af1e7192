//! Draws what was measured against what it should be linear in.

use std::fmt::Write as _;

/// One panel: points, and what they are.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// A command, and its points: x and seconds.
pub(crate) type Line = (&'static str, Vec<(f64, f64)>);

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 15.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 3] = ["#1f6f8b", "#c8553d", "#6a8d3a"];
const TICKS: u8 = 4;

/// Draws the panels side by side. Both axes start at zero and are linear, so that a straight line
/// is what it seems.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let count = u32::try_from(panels.len()).unwrap_or_default();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH * f64::from(count)
    );
    let mut left = 0.0;
    for panel in panels {
        draw(&mut out, panel, left);
        left += WIDTH;
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel, left: f64) {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let most_x = round_up(points().map(|(x, _)| *x).fold(0.0, f64::max));
    let most_y = round_up(points().map(|(_, y)| *y).fold(0.0, f64::max));
    let at = |x: f64, y: f64| {
        (
            LEFT + x / most_x * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / most_y * (HEIGHT - TOP - BOTTOM),
        )
    };
    let mut element = |text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{text}");
    };
    element(format_args!("<g transform=\"translate({left} 0)\">"));
    element(format_args!(
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"13\" font-weight=\"bold\">{}</text>",
        panel.title
    ));
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let (x, bottom) = at(share * most_x, 0.0);
        let (start, y) = at(0.0, share * most_y);
        let (end, _) = at(most_x, 0.0);
        element(format_args!(
            "<path d=\"M{start:.1} {y:.1}H{end:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.2}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            start - 6.0,
            y + 4.0,
            share * most_y,
            bottom + 16.0,
            share * most_x
        ));
    }
    element(format_args!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">seconds</text>",
        f64::midpoint(LEFT, WIDTH),
        HEIGHT - 12.0,
        panel.x,
        f64::midpoint(TOP, HEIGHT - BOTTOM)
    ));
    let mut legend = TOP + 8.0;
    for ((name, points), colour) in panel.lines.iter().zip(COLOURS) {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = at(*x, *y);
            element(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
            ));
            let _ = write!(
                path,
                "{}{x:.1} {y:.1}",
                if path.is_empty() { 'M' } else { 'L' }
            );
        }
        element(format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{:.1}\" y=\"{legend:.1}\" fill=\"{colour}\">{name}</text>",
            LEFT + 10.0
        ));
        legend += 15.0;
    }
    element(format_args!("</g>"));
}

/// Returns the next number of one significant digit, even or five, so that the ticks are short.
fn round_up(most: f64) -> f64 {
    let unit = 10.0_f64.powf(most.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * unit)
        .find(|rounded| *rounded >= most * 0.999)
        .unwrap_or(most)
}
