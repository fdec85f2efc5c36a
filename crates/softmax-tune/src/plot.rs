//! The plot: a panel to each trial, ns per element against the length of the rows, a line to each candidate.

use crate::trial::Trial;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 380);

/// One for each candidate of a trial: the current one, the same again, and all values of a knob.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 0, 0),
    RGBColor(150, 150, 150),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 80, 30),
    RGBColor(128, 0, 128),
];

/// An SVG document.
///
/// # Errors
/// The drawing library's words.
pub fn render(trials: &[Trial]) -> Result<String, String> {
    let mut svg = String::new();
    {
        let size = (SIZE.0, SIZE.1 * trials.len().max(1) as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
            root.fill(&WHITE)?;
            for (area, trial) in root.split_evenly((trials.len().max(1), 1)).iter().zip(trials) {
                panel(area, trial)?;
            }
            root.present()?;
            Ok(())
        };
        draw().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Both axes are logarithmic: the coordinates are logarithms to base 2, so that the labels stand at equal distances.
fn panel(area: &Area<'_>, trial: &Trial) -> Result<(), Box<dyn std::error::Error>> {
    // A trial of both kinds shows what is out of place.
    let in_place = trial.shapes.iter().all(|shape| shape.in_place);
    let place = if in_place { "in place" } else { "out of place" };
    let of_candidate = |ns: &[f64]| -> Vec<(f64, f64)> {
        let shown = trial
            .shapes
            .iter()
            .zip(ns)
            .filter(|(shape, _)| shape.in_place == in_place);
        let mut points: Vec<_> = shown
            .map(|(shape, ns)| ((shape.cols as f64).log2(), ns.log2()))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let lines: Vec<Vec<(f64, f64)>> = trial.ns.iter().map(|ns| of_candidate(ns)).collect();
    let range = |of: fn(&(f64, f64)) -> f64| {
        let values = || lines.iter().flatten().map(of);
        values().fold(f64::INFINITY, f64::min) - 0.1..values().fold(f64::NEG_INFINITY, f64::max) + 0.1
    };
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: softmax f32, {place}", trial.what), ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(range(|point| point.0), range(|point| point.1))?;
    chart
        .configure_mesh()
        .x_desc("n, elements of a row")
        .y_desc("ns per element")
        .x_label_formatter(&|n| format!("{:.0}", n.exp2()))
        .y_label_formatter(&|ns| format!("{:.2}", ns.exp2()))
        .light_line_style(WHITE)
        .draw()?;
    for (index, (label, points)) in trial.labels.iter().zip(lines).enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knob::KNOBS;

    #[test]
    fn no_two_lines_have_one_colour() {
        let most = KNOBS.iter().map(|knob| 2 + knob.values.len()).max();
        assert!(most.is_some_and(|most| most <= COLOURS.len()), "{most:?}");
    }
}
