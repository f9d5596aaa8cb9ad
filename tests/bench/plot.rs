//! The plot: the cost of each row beside the floor, as SVG.

use std::error::Error;
use std::io;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::results::{Row, ServerKind};

pub const TITLE: &str = "On-CPU time per response";

/// Sizes in pixels. The fonts that a browser takes for sans-serif differ in width: the names have
/// space for a wide one.
const WIDTH: u32 = 1000;
const ROW_HEIGHT: u32 = 26;
const TITLE_HEIGHT: u32 = 48;
const AXIS_HEIGHT: u32 = 60;
const NAMES_WIDTH: u32 = 430;
const VALUES_WIDTH: u32 = 56;
const MARGIN: u32 = 10;

const WALLCLOCKD: RGBColor = RGBColor(42, 111, 187);
const OTHERS: RGBColor = RGBColor(176, 183, 191);
const FLOOR: RGBColor = RGBColor(192, 57, 43);

/// Draws the rows that were measured beside the floor.
pub fn draw(path: &Path, rows: &[Row]) -> io::Result<()> {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| !row.samples.is_empty() && row.floor == ServerKind::Floor)
        .collect();
    try_draw(path, &rows).map_err(|error| io::Error::other(error.to_string()))
}

fn try_draw(path: &Path, rows: &[&Row]) -> Result<(), Box<dyn Error>> {
    let height = TITLE_HEIGHT + ROW_HEIGHT * rows.len() as u32 + AXIS_HEIGHT;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.margin(MARGIN, MARGIN, MARGIN, MARGIN);
    let title = ("sans-serif", 22).into_font();
    let root = root.titled(TITLE, title)?;
    let most = rows.iter().map(|row| row.ratio()).fold(1.0, f64::max);
    // Row 0 is at the top.
    let last = rows.len() as i32 - 1;
    let mut chart = ChartBuilder::on(&root)
        .set_label_area_size(LabelAreaPosition::Left, NAMES_WIDTH)
        .set_label_area_size(LabelAreaPosition::Bottom, 44)
        .margin_right(VALUES_WIDTH)
        .build_cartesian_2d(0.0..most * 1.02, (0..last).into_segmented())?;
    let font = ("sans-serif", 16).into_font();
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("x floor (dashed line)")
        .x_label_formatter(&|x| format!("{x:.1}"))
        .y_labels(rows.len())
        .y_label_formatter(&|y| match y {
            SegmentValue::CenterOf(y) => rows[(last - y) as usize].name(),
            _ => String::new(),
        })
        .label_style(font.clone())
        .axis_desc_style(font.clone())
        .draw()?;
    chart.draw_series(rows.iter().zip(0..).map(|(row, index)| {
        let colour = if row.server.is_wallclockd() {
            WALLCLOCKD
        } else {
            OTHERS
        };
        let y = last - index;
        let ends = [
            (0.0, SegmentValue::Exact(y)),
            (row.ratio(), SegmentValue::Exact(y + 1)),
        ];
        let mut bar = Rectangle::new(ends, colour.filled());
        bar.set_margin(4, 4, 0, 0);
        bar
    }))?;
    let floor = [
        (1.0, SegmentValue::Exact(0)),
        (1.0, SegmentValue::Exact(last + 1)),
    ];
    chart.draw_series(DashedLineSeries::new(floor, 5, 3, FLOOR.stroke_width(2)))?;
    // The values are in a column of their own: beside a bar they would be on the dashed line.
    let style = font.color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    for (row, index) in rows.iter().zip(0..) {
        let centre = SegmentValue::CenterOf(last - index);
        let (_, y) = chart.backend_coord(&(1.0, centre));
        let text = format!("{:.2}", row.ratio());
        // `root` begins at the margin and below the title.
        let (x, top) = ((WIDTH - 2 * MARGIN) as i32, root.get_pixel_range().1.start);
        root.draw(&Text::new(text, (x, y - top), style.clone()))?;
    }
    root.present()?;
    Ok(())
}
