use std::path::Path;

use plotters::{
    prelude::*,
    style::{FontStyle, register_font},
};
use vlm::Error;

use crate::metrics::Metrics;

const FONT: &[u8] = include_bytes!("../../../fonts/DejaVuSans-Bold.ttf");
const SIZE: (u32, u32) = (960, 540);
const GREY: RGBColor = RGBColor(170, 185, 205);
const BLUE: RGBColor = RGBColor(30, 90, 170);
const ORANGE: RGBColor = RGBColor(215, 95, 20);

/// Draws the losses of a run as a PNG: of each step, their running mean, and of evaluations.
pub fn draw(metrics: &Metrics, path: &Path) -> Result<(), Error> {
    let steps: Vec<(f64, f64)> = metrics
        .steps()
        .map(|line| (line.step as f64, line.loss))
        .collect();
    let evals: Vec<(f64, f64)> = metrics
        .evals()
        .map(|line| (line.step as f64, line.eval_loss))
        .collect();
    if steps.is_empty() {
        return Ok(());
    }
    plot(&steps, &evals, path).map_err(|message| vlm::core::Error::file(path, message).into())
}

fn plot(steps: &[(f64, f64)], evals: &[(f64, f64)], path: &Path) -> Result<(), String> {
    // A second call finds the same font there.
    let _ = register_font("sans-serif", FontStyle::Normal, FONT);
    let losses = || steps.iter().chain(evals).map(|(_, loss)| *loss);
    let high = losses().fold(f64::MIN, f64::max);
    let low = losses().fold(f64::MAX, f64::min);
    let room = ((high - low) * 0.05).max(1e-6);
    let low = (low - room).max(0.0).min(low);
    let last = steps.last().map_or(1.0, |(step, _)| *step);
    let first = steps[0].0.min(last - 1.0);
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut pixels = vec![0; 3 * (SIZE.0 * SIZE.1) as usize];
    let root = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| said(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(20)
        .x_label_area_size(45)
        .y_label_area_size(65)
        .build_cartesian_2d(first..last, low..high + room)
        .map_err(|error| said(&error))?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("step")
        .y_desc("loss")
        .x_labels(10)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .light_line_style(WHITE)
        .bold_line_style(GREY.mix(0.35))
        .label_style(("sans-serif", 16))
        .axis_desc_style(("sans-serif", 18))
        .draw()
        .map_err(|error| said(&error))?;
    let mean = running_mean(steps);
    for (name, points, color, width) in [
        ("step", steps, GREY, 1),
        ("running mean", &mean, BLUE, 3),
        ("evaluation", evals, ORANGE, 3),
    ] {
        if points.is_empty() {
            continue;
        }
        let style = color.stroke_width(width);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .map_err(|error| said(&error))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
    }
    let dots = evals
        .iter()
        .map(|point| Circle::new(*point, 4, ORANGE.filled()));
    chart.draw_series(dots).map_err(|error| said(&error))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(12)
        .legend_area_size(32)
        .background_style(WHITE.mix(0.85))
        .border_style(GREY)
        .label_font(("sans-serif", 16))
        .draw()
        .map_err(|error| said(&error))?;
    root.present().map_err(|error| said(&error))?;
    drop(chart);
    drop(root);
    let picture = image::RgbImage::from_raw(SIZE.0, SIZE.1, pixels).ok_or("no picture")?;
    picture.save(path).map_err(|error| said(&error))
}

/// Over a fiftieth of the run around each step.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len() / 100;
    let mean = |index: usize| {
        let around = &points[index.saturating_sub(reach)..(index + reach + 1).min(points.len())];
        let sum: f64 = around.iter().map(|(_, loss)| loss).sum();
        (points[index].0, sum / around.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}
