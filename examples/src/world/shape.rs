use std::sync::LazyLock;

use super::canvas::{Canvas, Paint};

/// A shape with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Diamond,
    Cross,
    Ring,
    Heart,
}

// Asked for with every thing that is placed.
static EXTENTS: LazyLock<[[f32; 4]; 8]> = LazyLock::new(|| SHAPES.map(Shape::measured));

/// Every shape.
pub const SHAPES: [Shape; 8] = [
    Shape::Circle,
    Shape::Square,
    Shape::Triangle,
    Shape::Star,
    Shape::Diamond,
    Shape::Cross,
    Shape::Ring,
    Shape::Heart,
];

impl Shape {
    /// What one of them is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Diamond => "diamond",
            Self::Cross => "cross",
            Self::Ring => "ring",
            Self::Heart => "heart",
        }
    }

    /// What several of them are called.
    pub fn plural(self) -> String {
        match self {
            Self::Cross => "crosses".to_owned(),
            _ => format!("{}s", self.name()),
        }
    }

    /// Whether a point belongs to the shape that fills the square from -1 to 1, y downwards.
    pub fn has(self, x: f32, y: f32) -> bool {
        let radius = x.hypot(y);
        match self {
            Self::Circle => radius <= 1.0,
            Self::Square => x.abs() <= 0.88 && y.abs() <= 0.88,
            // Apex at the top; its sides are as long as its base.
            Self::Triangle => y <= 0.8 && y + 0.93 >= 1.73 * x.abs(),
            Self::Star => in_star(x, y + 0.05),
            Self::Diamond => x.abs() * 1.25 + y.abs() <= 1.0,
            Self::Cross => x.abs().max(y.abs()) <= 0.95 && x.abs().min(y.abs()) <= 0.32,
            Self::Ring => (0.55..=1.0).contains(&radius),
            Self::Heart => in_heart(x * 1.2, 0.15 - y * 1.2),
        }
    }

    /// Draws it around a point; `paint` gives the colour at a point of the square from -1 to 1.
    pub fn draw(
        self,
        canvas: &mut Canvas,
        [x0, y0]: [f32; 2],
        radius: f32,
        paint: impl Fn(f32, f32) -> Paint,
    ) {
        let [left, top, right, bottom] = self.extent().map(|edge| edge * radius);
        canvas.cover([x0 + left, y0 + top, x0 + right, y0 + bottom], |x, y| {
            let (x, y) = ((x - x0) / radius, (y - y0) / radius);
            self.has(x, y).then(|| paint(x, y))
        });
    }

    /// The box around the shape in the square from -1 to 1.
    pub fn extent(self) -> [f32; 4] {
        EXTENTS[self as usize]
    }

    fn measured(self) -> [f32; 4] {
        const STEPS: i32 = 100;
        let mut extent = [1.0f32, 1.0, -1.0, -1.0];
        for row in -STEPS..=STEPS {
            for column in -STEPS..=STEPS {
                let (x, y) = (column as f32 / STEPS as f32, row as f32 / STEPS as f32);
                if self.has(x, y) {
                    extent = [
                        extent[0].min(x),
                        extent[1].min(y),
                        extent[2].max(x),
                        extent[3].max(y),
                    ];
                }
            }
        }
        extent
    }
}

/// Five points on the unit circle, the first at the top.
fn in_star(x: f32, y: f32) -> bool {
    use std::f32::consts::PI;
    const INNER: f32 = 0.42;
    let angle = x.atan2(-y).rem_euclid(2.0 * PI / 5.0);
    let from_point = angle.min(2.0 * PI / 5.0 - angle);
    // The edge from the point (angle 0, radius 1) to the notch (angle π/5, radius INNER).
    let (sin, cos) = (PI / 5.0).sin_cos();
    let radius = x.hypot(y);
    let (px, py) = (radius * from_point.cos(), radius * from_point.sin());
    (INNER * cos - 1.0) * py - (INNER * sin) * (px - 1.0) >= 0.0
}

/// `(x² + y² - 1)³ ≤ x² y³`, y upwards.
fn in_heart(x: f32, y: f32) -> bool {
    let ball = x * x + y * y - 1.0;
    ball * ball * ball <= x * x * y * y * y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_fills_its_square_and_is_its_own() {
        for (index, shape) in SHAPES.into_iter().enumerate() {
            let [left, top, right, bottom] = shape.extent();
            assert!(
                right - left > 1.5 && bottom - top > 1.5,
                "{shape:?}: {:?}",
                shape.extent()
            );
            for other in &SHAPES[index + 1..] {
                let points = (-20..20).flat_map(|x| (-20..20).map(move |y| (x, y)));
                let differ = points
                    .map(|(x, y)| (x as f32 / 20.0, y as f32 / 20.0))
                    .filter(|(x, y)| shape.has(*x, *y) != other.has(*x, *y));
                assert!(differ.count() > 100, "{shape:?} and {other:?} look alike");
            }
        }
    }
}
