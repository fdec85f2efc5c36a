//! The plot: one panel per group, ns per element over the shapes, both axes labelled, as SVG. What has no part in the
//! ratios is not drawn, except the copy.

use crate::peer::Role;
use crate::peers::{COPY, NAMES, OURS};
use crate::record::{Group, Record, distinct, groups};
use crate::table;
use crate::task::{CALL, Shape};
use plotters::coord::Shift;
use plotters::prelude::*;

const WIDTH: u32 = 1100;
const PANEL: u32 = 460;
const CAPTION: u32 = 40;
const LEGEND: u32 = 140;

/// The colours of the peers in the order of [`NAMES`]: ours dark, the copy grey.
const COLOURS: [RGBColor; NAMES.len()] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(120, 80, 30),
    RGBColor(190, 170, 60),
    RGBColor(128, 0, 128),
    RGBColor(150, 150, 150),
];

/// An SVG document of all groups of `records`.
///
/// # Errors
/// There is nothing to draw.
pub fn render(comments: &[String], records: &[Record]) -> Result<String, String> {
    let is_drawn = |record: &&Record| record.shape != CALL && (record.role != Role::Peer || record.is_rival());
    let records: Vec<Record> = records.iter().filter(is_drawn).cloned().collect();
    let groups = groups(&records);
    if groups.is_empty() {
        return Err("there is nothing to plot".into());
    }
    let mut svg = String::new();
    {
        let size = (WIDTH, CAPTION + PANEL * groups.len() as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root, comments, &records, &groups).map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Done = Result<(), Box<dyn std::error::Error>>;

fn draw(root: &Area<'_>, comments: &[String], records: &[Record], groups: &[Group]) -> Done {
    root.fill(&WHITE)?;
    let (caption, panels) = root.split_vertically(CAPTION);
    let of_interest = |line: &&String| ["cpu:", "date:"].iter().any(|key| line.starts_with(key));
    let line: Vec<&str> = comments.iter().filter(of_interest).map(String::as_str).collect();
    caption.draw(&Text::new(line.join("    "), (20, 14), ("sans-serif", 14)))?;
    for (area, group) in panels.split_evenly((groups.len(), 1)).iter().zip(groups) {
        let of_group: Vec<&Record> = records.iter().filter(|record| record.group == *group).collect();
        panel(area, *group, &of_group)?;
    }
    root.present()?;
    Ok(())
}

fn panel(area: &Area<'_>, group: Group, records: &[&Record]) -> Done {
    let shapes: Vec<Shape> = distinct(records.iter().map(|record| record.shape));
    let low = records.iter().map(|record| record.ns).fold(f64::INFINITY, f64::min);
    let high = records.iter().map(|record| record.ns).fold(0.0, f64::max);
    let title = table::title(group);
    let (area, legend) = area.split_horizontally(WIDTH - LEGEND);
    let mut line = 50;
    let mut chart = ChartBuilder::on(&area)
        .caption(title.trim_start_matches("## "), ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(-0.5..shapes.len() as f64 - 0.5, (low * 0.8..high * 1.25).log_scale())?;
    let label = |x: &f64| {
        let index = x.round();
        let shape = shapes.get(index.max(0.0) as usize);
        match shape {
            Some(shape) if (x - index).abs() < 1e-6 => shape.to_string(),
            _ => String::new(),
        }
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(shapes.len() + 1)
        .x_label_formatter(&label)
        .y_label_formatter(&|y| format!("{y}"))
        .x_desc("rows x columns")
        .y_desc("ns per element")
        .light_line_style(BLACK.mix(0.06))
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 12))
        .draw()?;
    for (name, colour) in NAMES.into_iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> = shapes
            .iter()
            .enumerate()
            .filter_map(|(index, shape)| {
                let is_it = |record: &&&Record| record.peer == name && record.shape == *shape;
                Some((index as f64, records.iter().find(is_it)?.ns))
            })
            .collect();
        if points.is_empty() {
            continue;
        }
        let width = if [OURS, COPY].contains(&name) { 3 } else { 1 };
        let style = colour.stroke_width(width);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        chart.draw_series(
            points
                .iter()
                .map(|&point| Circle::new(point, 2 + width / 2, colour.filled())),
        )?;
        legend.draw(&PathElement::new([(0, line + 6), (22, line + 6)], style))?;
        legend.draw(&Text::new(name, (30, line), ("sans-serif", 13)))?;
        line += 20;
    }
    Ok(())
}
